package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

func (w *world) subresource(pod, name string, options runtime.Object) *url.URL {
	request := w.json.CoreV1().RESTClient().Post().Resource("pods").Namespace(w.namespace).Name(pod).SubResource(name)
	if options != nil {
		request = request.VersionedParams(options, scheme.ParameterCodec)
	}
	return request.URL()
}

// Both ways that client-go has, and the one that tries them in turn.
func (w *world) executors(at *url.URL) map[string]remotecommand.Executor {
	socket := got(remotecommand.NewWebSocketExecutor(w.config, http.MethodGet, at.String()))
	frames := got(remotecommand.NewSPDYExecutor(w.config, http.MethodPost, at))
	either := got(remotecommand.NewFallbackExecutor(socket, frames, httpstream.IsUpgradeFailure))
	return map[string]remotecommand.Executor{"WebSocket": socket, "SPDY": frames, "either": either}
}

func execs(ctx context.Context, w *world) {
	w.runPod(ctx, pod("p", "sleep", "inf"))
	run := func(options *corev1.PodExecOptions, how string, streams remotecommand.StreamOptions) error {
		options.Container = "c"
		return w.executors(w.subresource("p", "exec", options))[how].StreamWithContext(ctx, streams)
	}
	for _, how := range []string{"WebSocket", "SPDY", "either"} {
		var out, err bytes.Buffer
		input := strings.Repeat("0123456789abcde\n", 10_000)
		ended := run(&corev1.PodExecOptions{Command: []string{"sh", "-c", "cat; echo done >&2; exit 7"}, Stdin: true, Stdout: true, Stderr: true},
			how, remotecommand.StreamOptions{Stdin: strings.NewReader(input), Stdout: &out, Stderr: &err})
		var code exec.CodeExitError
		check(errors.As(ended, &code) && code.Code == 7, "%s: exit %v", how, ended)
		check(out.String() == input && err.String() == "done\n", "%s: %d bytes, %q", how, out.Len(), err.String())
		out.Reset()
		sizes := make(queue, 1)
		sizes <- &remotecommand.TerminalSize{Width: 132, Height: 43}
		must(run(&corev1.PodExecOptions{Command: []string{"tty"}, Stdin: true, Stdout: true, TTY: true}, how,
			remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: &out, Tty: true, TerminalSizeQueue: sizes}))
		check(strings.Contains(out.String(), "/dev/pts/"), "%s: a terminal: %q", how, out.String())
		ended = run(&corev1.PodExecOptions{Command: []string{"/nowhere"}, Stdout: true}, how, remotecommand.StreamOptions{Stdout: &out})
		check(ended != nil && strings.Contains(ended.Error(), "/nowhere"), "%s: what is not there: %v", how, ended)
		// Who leaves lets the next one in.
		short, leave := context.WithCancel(ctx)
		reader, writer := io.Pipe()
		left := make(chan error, 1)
		at := w.subresource("p", "exec", &corev1.PodExecOptions{Container: "c", Command: []string{"sh", "-c", "echo begun; sleep inf"}, Stdout: true})
		go func() {
			left <- w.executors(at)[how].StreamWithContext(short, remotecommand.StreamOptions{Stdout: writer})
		}()
		line, _ := bufio.NewReader(reader).ReadString('\n')
		check(line == "begun\n", "%s: %q", how, line)
		leave()
		check(take(ctx, left, "the end of a session") != nil, "%s: who left was told that all is well", how)
	}
}

type queue chan *remotecommand.TerminalSize

func (q queue) Next() *remotecommand.TerminalSize {
	select {
	case size := <-q:
		return size
	default:
		return nil
	}
}

func attach(ctx context.Context, w *world) {
	for _, how := range []string{"WebSocket", "SPDY"} {
		name := "attached-" + strings.ToLower(how)
		shell := pod(name, "sh", "-c", `while read line; do echo "<$line>"; [ "$line" = end ] && exit 0; done; sleep inf`)
		shell.Spec.Containers[0].Stdin = true
		shell.Spec.RestartPolicy = corev1.RestartPolicyNever
		w.runPod(ctx, shell)
		at := w.subresource(name, "attach", &corev1.PodAttachOptions{Container: "c", Stdin: true, Stdout: true})
		var out bytes.Buffer
		in, typing := io.Pipe()
		go fmt.Fprintf(typing, "one\nend\n")
		must(w.executors(at)[how].StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: &out}))
		check(out.String() == "<one>\n<end>\n", "%s: heard %q", how, out.String())
		w.untilPod(ctx, name, func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodSucceeded })
	}
}

func forwards(ctx context.Context, w *world) {
	server := pod("p", "serve-echo", "--tcp", "7000")
	server.Spec.Containers[0].ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
		TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(7000)}}}
	w.runPod(ctx, server)
	at := w.subresource("p", "portforward", nil)
	round, upgrader, err := spdy.RoundTripperFor(w.config)
	must(err)
	dialers := map[string]httpstream.Dialer{
		"WebSocket": got(portforward.NewSPDYOverWebsocketDialer(at, w.config)),
		"SPDY":      spdy.NewDialer(upgrader, &http.Client{Transport: round}, http.MethodPost, at),
	}
	dialers["either"] = portforward.NewFallbackDialer(dialers["WebSocket"], dialers["SPDY"], httpstream.IsUpgradeFailure)
	for how, dialer := range dialers {
		stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		forwarder := got(portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:7000", "0:7001"}, stop, ready, io.Discard, io.Discard))
		go func() { ended <- forwarder.ForwardPorts() }()
		select {
		case <-ready:
		case err := <-ended:
			panic(failure(fmt.Sprintf("%s: %v", how, err)))
		}
		ports := got(forwarder.GetPorts())
		echoes := make(chan error, 8)
		for number := range 8 {
			go func() { echoes <- echo(ports[0].Local, strings.Repeat(fmt.Sprint(number), 100_000)) }()
		}
		for range 8 {
			must(take(ctx, echoes, "an echo"))
		}
		// Where nobody listens the connection ends, and the others go on.
		conn := got(net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[1].Local)))
		data, _ := io.ReadAll(conn)
		check(len(data) == 0, "%s: nobody said %q", how, data)
		close(stop)
		take(ctx, ended, "the end of a forward")
	}
}

// Sends a text and expects it back.
func echo(port uint16, text string) error {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer conn.Close()
	go io.WriteString(conn, text)
	back := make([]byte, len(text))
	if _, err := io.ReadFull(conn, back); err != nil {
		return err
	}
	if string(back) != text {
		return errors.New("the echo is another")
	}
	return nil
}

func logs(ctx context.Context, w *world) {
	talker := pod("p", "sh", "-c", "seq 1 100; read line; echo end")
	talker.Spec.Containers[0].Stdin = true
	talker.Spec.RestartPolicy = corev1.RestartPolicyNever
	w.runPod(ctx, talker)
	pods := w.proto.CoreV1().Pods(w.namespace)
	follow := got(pods.GetLogs("p", &corev1.PodLogOptions{Follow: true}).Stream(ctx))
	defer follow.Close()
	lines := bufio.NewScanner(follow)
	for range 100 {
		check(lines.Scan(), "followed to the end")
	}
	at := w.subresource("p", "attach", &corev1.PodAttachOptions{Container: "c", Stdin: true})
	go w.executors(at)["WebSocket"].StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("go\n")})
	check(lines.Scan() && lines.Text() == "end" && !lines.Scan(), "the last line: %q", lines.Text())
	tail, bytes := int64(2), int64(5)
	check(string(got(pods.GetLogs("p", &corev1.PodLogOptions{TailLines: &tail}).DoRaw(ctx))) == "100\nend\n", "the tail")
	check(string(got(pods.GetLogs("p", &corev1.PodLogOptions{LimitBytes: &bytes}).DoRaw(ctx))) == "1\n2\n3", "the first bytes")
	stamped := string(got(pods.GetLogs("p", &corev1.PodLogOptions{TailLines: &tail, Timestamps: true}).DoRaw(ctx)))
	check(strings.Contains(stamped, "Z 100\n"), "with times: %q", stamped)
	_, err := pods.GetLogs("p", &corev1.PodLogOptions{Container: "other"}).Stream(ctx)
	check(err != nil && err.Error() == "container other is not valid for pod p", "of a container that is not there: %v", err)
	_, err = pods.GetLogs("p", &corev1.PodLogOptions{Previous: true}).Stream(ctx)
	check(err != nil && strings.Contains(err.Error(), `previous terminated container "c" in pod "p" not found`), "of a former one: %v", err)
}
