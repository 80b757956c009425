// Command clients uses a cluster as programs on client-go do: typed, dynamic and metadata clients, informers, elections,
// apply, patches, watches, sessions. `cargo xtask clients` builds and runs it; a line of its output is a step.
//
// Laws: it knows a kubeconfig and nothing else. It waits by watching, never by looking again.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	toolswatch "k8s.io/client-go/tools/watch"
)

// What a step takes at most.
const limit = 60 * time.Second

const protobuf = "application/vnd.kubernetes.protobuf"

type step struct {
	name string
	run  func(context.Context, *world)
}

var steps = []step{
	{"typed client, protobuf and JSON", typed},
	{"status, dry run, strict fields, preconditions, conflicts", writes},
	{"list in pages", pages},
	{"watch: initial events, bookmarks, selectors, from a revision", watches},
	{"shared informers over cut connections", informers},
	{"leader election", election},
	{"discovery, REST mapping, dynamic and metadata clients", discovery},
	{"apply: conflict, force, what is left out goes", apply},
	{"patches: JSON, merge, strategic", patches},
	{"exec over WebSocket and SPDY", execs},
	{"attach", attach},
	{"port-forward over WebSocket and SPDY", forwards},
	{"logs", logs},
	{"tokens and reviews", tokens},
	{"eviction", eviction},
	{"deletecollection and propagation", deletions},
	{"events recorded", events},
	{"ephemeral containers and resize", subresources},
	{"namespace with content is deleted", namespaces},
}

// What all steps share: a namespace and clients of it.
type world struct {
	config    *rest.Config
	json      *kubernetes.Clientset
	proto     *kubernetes.Clientset
	dynamic   *dynamic.DynamicClient
	namespace string
}

// Ends a step; the line says what.
type failure string

func must(err error) {
	if err != nil {
		panic(failure(fmt.Sprintf("%v (%T)", err, err)))
	}
}

func got[T any](value T, err error) T {
	must(err)
	return value
}

func check(holds bool, format string, words ...any) {
	if !holds {
		panic(failure(fmt.Sprintf(format, words...)))
	}
}

func main() {
	w, err := open()
	if err != nil {
		fmt.Println("FAILED to begin:", err)
		os.Exit(1)
	}
	failed := false
	for _, step := range steps {
		if len(os.Args) > 1 && os.Args[1] != step.name {
			continue
		}
		begun := time.Now()
		if why := attempt(step, w); why != "" {
			failed = true
			fmt.Printf("FAILED %s: %s\n", step.name, why)
		} else {
			fmt.Printf("ok %s (%.1f s)\n", step.name, time.Since(begun).Seconds())
		}
	}
	if failed {
		os.Exit(1)
	}
}

func open() (*world, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	binary := rest.CopyConfig(config)
	binary.ContentType = protobuf
	binary.AcceptContentTypes = protobuf + ",application/json"
	w := &world{config: config}
	if w.json, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if w.proto, err = kubernetes.NewForConfig(binary); err != nil {
		return nil, err
	}
	if w.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	return w, nil
}

// Runs a step in a namespace of its own, which is deleted with it.
func attempt(step step, w *world) (why string) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	defer func() {
		if thrown := recover(); thrown != nil {
			said, ours := thrown.(failure)
			if !ours {
				panic(thrown)
			}
			why = string(said)
		}
	}()
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "client-go-"}}
	w.namespace = got(w.json.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{})).Name
	defer w.json.CoreV1().Namespaces().Delete(context.Background(), w.namespace, metav1.DeleteOptions{})
	w.account(ctx)
	step.run(ctx, w)
	return ""
}

// A pod needs its account, which a controller makes.
func (w *world) account(ctx context.Context) {
	accounts := w.json.CoreV1().ServiceAccounts(w.namespace)
	until(ctx, list(ctx, accounts.List, accounts.Watch, "default"), &corev1.ServiceAccount{},
		func(event watch.Event) bool { return event.Type != watch.Deleted })
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: named(name), Data: data}
}

// A pod of the built-in image.
func pod(name string, command ...string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{ObjectMeta: named(name), Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace,
		Containers:                    []corev1.Container{{Name: "c", Image: "toolbox", Command: command}},
	}}
}

// Creates a pod and waits until it is ready.
func (w *world) runPod(ctx context.Context, pod *corev1.Pod) *corev1.Pod {
	got(w.proto.CoreV1().Pods(w.namespace).Create(ctx, pod, metav1.CreateOptions{}))
	return w.untilPod(ctx, pod.Name, func(pod *corev1.Pod) bool {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	})
}

func (w *world) untilPod(ctx context.Context, name string, holds func(*corev1.Pod) bool) *corev1.Pod {
	pods := w.proto.CoreV1().Pods(w.namespace)
	found := until(ctx, list(ctx, pods.List, pods.Watch, name), &corev1.Pod{}, func(event watch.Event) bool {
		pod, is := event.Object.(*corev1.Pod)
		return is && event.Type != watch.Deleted && holds(pod)
	})
	return found.(*corev1.Pod)
}

// What lists and watches the one object.
func list[L runtime.Object](
	ctx context.Context,
	lists func(context.Context, metav1.ListOptions) (L, error),
	watches func(context.Context, metav1.ListOptions) (watch.Interface, error),
	name string,
) cache.ListerWatcher {
	one := fields.OneTermEqualSelector("metadata.name", name).String()
	return &cache.ListWatch{
		ListFunc: func(options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = one
			return lists(ctx, options)
		},
		WatchFunc: func(options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = one
			return watches(ctx, options)
		},
	}
}

func until(ctx context.Context, from cache.ListerWatcher, of runtime.Object, holds func(watch.Event) bool) runtime.Object {
	event := got(toolswatch.UntilWithSync(ctx, from, of, nil, func(event watch.Event) (bool, error) {
		return holds(event), nil
	}))
	return event.Object
}

// The next event of a watch.
func next(ctx context.Context, from watch.Interface) watch.Event {
	select {
	case event, open := <-from.ResultChan():
		check(open, "the watch ended")
		return event
	case <-ctx.Done():
		panic(failure("no event came"))
	}
}

// Waits for a value of a channel.
func take[T any](ctx context.Context, from <-chan T, what string) T {
	select {
	case value := <-from:
		return value
	case <-ctx.Done():
		panic(failure("waited in vain for " + what))
	}
}
