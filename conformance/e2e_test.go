// Package conformance is the judge: it runs Kubernetes' own end-to-end suite against whatever cluster the kubeconfig
// names. `go test -c` makes the program e2e.test of it; `cargo xtask conformance` builds and drives that (see README.md).
//
// Laws: the suite is a dependency, unmodified. No test is skipped, retried or given more time here.
package conformance

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	conformancedata "k8s.io/kubernetes/test/conformance/testdata"
	"k8s.io/kubernetes/test/e2e"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"
	"k8s.io/kubernetes/test/e2e/framework/testfiles"
	manifests "k8s.io/kubernetes/test/e2e/testing-manifests"
	fixtures "k8s.io/kubernetes/test/fixtures"

	// Each folder of tests registers itself.
	_ "k8s.io/kubernetes/test/e2e/apimachinery"
	_ "k8s.io/kubernetes/test/e2e/apps"
	_ "k8s.io/kubernetes/test/e2e/architecture"
	_ "k8s.io/kubernetes/test/e2e/auth"
	_ "k8s.io/kubernetes/test/e2e/common"
	_ "k8s.io/kubernetes/test/e2e/dra"
	_ "k8s.io/kubernetes/test/e2e/instrumentation"
	_ "k8s.io/kubernetes/test/e2e/kubectl"
	_ "k8s.io/kubernetes/test/e2e/network"
	_ "k8s.io/kubernetes/test/e2e/node"
	_ "k8s.io/kubernetes/test/e2e/scheduling"
	_ "k8s.io/kubernetes/test/e2e/storage"

	// What the framework does around each test: describe the namespace of one that failed, wait for ready nodes.
	_ "k8s.io/kubernetes/test/e2e/framework/debug/init"
	_ "k8s.io/kubernetes/test/e2e/framework/metrics/init"
	_ "k8s.io/kubernetes/test/e2e/framework/node/init"
)

func TestMain(m *testing.M) {
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()

	// The manifests that tests read are embedded in the modules; there is no source tree to read them from.
	testfiles.AddFileSource(manifests.GetE2ETestingManifestsFS())
	testfiles.AddFileSource(fixtures.GetTestFixturesFS())
	testfiles.AddFileSource(conformancedata.GetConformanceTestdataFS())

	framework.AfterReadingAllFlags(&framework.TestContext)
	os.Exit(m.Run())
}

// keepDiary has each process write down, in the folder that the environment names, a line when a test begins and one with
// its report when it has ended. Ginkgo's own reports are lost with the first process that a test takes down; these are not.
// (The framework looks at its tests beforehand; what was registered until then is forgotten.)
func keepDiary() {
	ginkgo.ReportBeforeEach(func(report ginkgo.SpecReport) {
		if !report.State.Is(types.SpecStateSkipped | types.SpecStatePending) {
			note(report, "Begun")
		}
	})
	ginkgo.ReportAfterEach(func(report ginkgo.SpecReport) {
		if report.RunTime > 0 {
			note(report, "Ended")
		}
	})
}

func note(report ginkgo.SpecReport, what string) {
	folder := os.Getenv("GOUSSE_DIARIES")
	if folder == "" {
		return
	}
	// The log has what a test said.
	report.CapturedGinkgoWriterOutput, report.CapturedStdOutErr, report.SpecEvents = "", "", nil
	line, err := json.Marshal(map[string]any{what: report})
	if err != nil {
		panic(err)
	}
	name := filepath.Join(folder, fmt.Sprintf("%d.jsonl", report.ParallelProcess))
	diary, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer diary.Close()
	if _, err := diary.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}

func TestE2E(t *testing.T) {
	keepDiary()
	e2e.RunE2ETests(t)
}
