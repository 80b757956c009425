package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	kinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	eventsv1 "k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	toolswatch "k8s.io/client-go/tools/watch"
)

func watches(ctx context.Context, w *world) {
	maps := w.proto.CoreV1().ConfigMaps(w.namespace)
	got(maps.Create(ctx, configMap("a", nil), metav1.CreateOptions{}))
	ours := "app in (a,b)"
	yes, seconds := true, int64(5)

	initial := got(maps.Watch(ctx, metav1.ListOptions{LabelSelector: ours, SendInitialEvents: &yes, AllowWatchBookmarks: true,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}))
	event := next(ctx, initial)
	check(event.Type == watch.Added && event.Object.(*corev1.ConfigMap).Name == "a", "the first initial event: %v", event)
	event = next(ctx, initial)
	mark := event.Object.(*corev1.ConfigMap)
	check(event.Type == watch.Bookmark && mark.Annotations[metav1.InitialEventsAnnotationKey] == "true", "their end: %v", event)
	got(maps.Create(ctx, configMap("other", nil), metav1.CreateOptions{}))
	got(maps.Create(ctx, configMap("b", nil), metav1.CreateOptions{}))
	event = next(ctx, initial)
	check(event.Type == watch.Added && event.Object.(*corev1.ConfigMap).Name == "b", "after them: %v", event)
	// What leaves a selector is deleted for who watches by it.
	got(maps.Patch(ctx, "b", types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"c"}}}`), metav1.PatchOptions{}))
	event = next(ctx, initial)
	check(event.Type == watch.Deleted && event.Object.(*corev1.ConfigMap).Name == "b", "who leaves the selector: %v", event)
	initial.Stop()

	// The same again from the bookmark; a bookmark comes before the end, and then the end.
	again := got(maps.Watch(ctx, metav1.ListOptions{ResourceVersion: mark.ResourceVersion, AllowWatchBookmarks: true, TimeoutSeconds: &seconds}))
	kinds := ""
	last := mark.ResourceVersion
	for event := range again.ResultChan() {
		kinds += string(event.Type) + " "
		last = event.Object.(*corev1.ConfigMap).ResourceVersion
	}
	check(kinds == "ADDED ADDED MODIFIED BOOKMARK ", "from a bookmark came %s", kinds)
	retrying := got(toolswatch.NewRetryWatcherWithContext(ctx, last, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			seconds := int64(1)
			options.TimeoutSeconds = &seconds
			return maps.Watch(ctx, options)
		},
	}))
	for number := range 3 {
		name := fmt.Sprintf("retried-%d", number)
		got(maps.Create(ctx, configMap(name, nil), metav1.CreateOptions{}))
		event := next(ctx, retrying)
		check(event.Object.(*corev1.ConfigMap).Name == name, "over ends of watches: %v", event)
	}
	retrying.Stop()
	future := got(maps.Watch(ctx, metav1.ListOptions{ResourceVersion: "0", FieldSelector: "metadata.name=a"}))
	event = next(ctx, future)
	check(event.Type == watch.Added, "a watch from 0 begins with what is there: %v", event)
	future.Stop()
	_, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: "nonsense"})
	check(err != nil, "a revision that is none")
}

// Knows the connections of a client, to cut them.
type cables struct {
	lock sync.Mutex
	open []net.Conn
}

func (c *cables) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		c.lock.Lock()
		defer c.lock.Unlock()
		c.open = append(c.open, conn)
	}
	return conn, err
}

func (c *cables) cut() int {
	c.lock.Lock()
	defer c.lock.Unlock()
	for _, conn := range c.open {
		conn.Close()
	}
	count := len(c.open)
	c.open = nil
	return count
}

func informers(ctx context.Context, w *world) {
	wires := &cables{}
	config := rest.CopyConfig(w.config)
	config.Dial, config.ContentType, config.AcceptContentTypes = wires.dial, protobuf, protobuf
	factory := kinformers.NewSharedInformerFactoryWithOptions(got(kubernetes.NewForConfig(config)), 0, kinformers.WithNamespace(w.namespace))
	told := make(chan string, 1000)
	all := map[string]cache.SharedIndexInformer{
		"configmap": factory.Core().V1().ConfigMaps().Informer(),
		"pod":       factory.Core().V1().Pods().Informer(),
		"secret":    factory.Core().V1().Secrets().Informer(),
		"service":   factory.Core().V1().Services().Informer(),
		"lease":     factory.Coordination().V1().Leases().Informer(),
		"node":      factory.Core().V1().Nodes().Informer(),
	}
	for kind, informer := range all {
		say := func(what string, object any) {
			if unknown, is := object.(cache.DeletedFinalStateUnknown); is {
				object = unknown.Obj
			}
			if name := object.(metav1.Object).GetName(); kind != "node" {
				told <- what + " " + kind + " " + name
			}
		}
		got(informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { say("add", object) },
			UpdateFunc: func(_, object any) { say("update", object) },
			DeleteFunc: func(object any) { say("delete", object) },
		}))
	}
	inside, stop := context.WithCancel(ctx)
	factory.StartWithContext(inside)
	defer factory.Shutdown()
	defer stop()
	for kind, synced := range factory.WaitForCacheSync(inside.Done()) {
		check(synced, "%v did not sync", kind)
	}
	expect := func(words ...string) {
		missing := map[string]bool{}
		for _, word := range words {
			missing[word] = true
		}
		for len(missing) > 0 {
			delete(missing, take(ctx, told, fmt.Sprint(missing)))
		}
	}
	core, none := w.json.CoreV1(), metav1.CreateOptions{}
	held := pod("p", "sleep", "inf")
	held.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/held"}}
	got(core.ConfigMaps(w.namespace).Create(ctx, configMap("m", nil), none))
	got(core.Pods(w.namespace).Create(ctx, held, none))
	got(core.Secrets(w.namespace).Create(ctx, &corev1.Secret{ObjectMeta: named("s"), StringData: map[string]string{"a": "b"}}, none))
	got(core.Services(w.namespace).Create(ctx, &corev1.Service{ObjectMeta: named("v"), Spec: corev1.ServiceSpec{
		ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 80}}}}, none))
	got(w.json.CoordinationV1().Leases(w.namespace).Create(ctx, &coordinationv1.Lease{ObjectMeta: named("l")}, none))
	expect("add configmap m", "add pod p", "add secret s", "add service v", "add lease l")
	label := []byte(`{"metadata":{"labels":{"now":"other"}}}`)
	got(core.ConfigMaps(w.namespace).Patch(ctx, "m", types.MergePatchType, label, metav1.PatchOptions{}))
	got(core.Pods(w.namespace).Patch(ctx, "p", types.MergePatchType, label, metav1.PatchOptions{}))
	expect("update configmap m", "update pod p")
	must(core.Secrets(w.namespace).Delete(ctx, "s", metav1.DeleteOptions{}))
	expect("delete secret s")

	for round := range 5 {
		check(wires.cut() > 0, "no connection to cut")
		name := fmt.Sprintf("round-%d", round)
		got(core.ConfigMaps(w.namespace).Create(ctx, configMap(name, nil), none))
		got(core.ConfigMaps(w.namespace).Patch(ctx, "m", types.MergePatchType, []byte(`{"data":{"round":"`+name+`"}}`), metav1.PatchOptions{}))
		expect("add configmap "+name, "update configmap m")
		wires.cut()
		must(core.ConfigMaps(w.namespace).Delete(ctx, name, metav1.DeleteOptions{}))
		expect("delete configmap " + name)
	}
	cached := got(factory.Core().V1().ConfigMaps().Lister().ConfigMaps(w.namespace).Get("m"))
	stored := got(core.ConfigMaps(w.namespace).Get(ctx, "m", metav1.GetOptions{}))
	check(cached.ResourceVersion == stored.ResourceVersion, "cached %s, stored %s", cached.ResourceVersion, stored.ResourceVersion)
	check(len(got(factory.Core().V1().Nodes().Lister().List(labels.Everything()))) > 0, "nodes are cached")
}

func election(ctx context.Context, w *world) {
	led := make(chan string, 10)
	ended := make(chan string, 10)
	stand := func(ctx context.Context, name string) {
		lock := got(resourcelock.New(resourcelock.LeasesResourceLock, w.namespace, "election", w.json.CoreV1(), w.json.CoordinationV1(),
			resourcelock.ResourceLockConfig{Identity: name}))
		elector := got(leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 4 * time.Second, RenewDeadline: 3 * time.Second, RetryPeriod: 500 * time.Millisecond,
			ReleaseOnCancel: name != "silent",
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { led <- name },
				OnStoppedLeading: func() { ended <- name },
			},
		}))
		go elector.Run(ctx)
	}
	first, leave := context.WithCancel(ctx)
	stand(first, "first")
	check(take(ctx, led, "a first leader") == "first", "the only one leads")
	second, fall := context.WithCancel(ctx)
	stand(second, "silent")
	leave()
	check(take(ctx, ended, "the first one's end") == "first", "who was stopped")
	check(take(ctx, led, "a second leader") == "silent", "the next one leads")
	// It leaves without a word: its lease runs out.
	fall()
	third, end := context.WithCancel(ctx)
	defer end()
	begun := time.Now()
	stand(third, "third")
	check(take(ctx, led, "a third leader") == "third", "the last one leads")
	check(time.Since(begun) > 2*time.Second, "a lease that was held was taken after %v", time.Since(begun))
	lease := got(w.json.CoordinationV1().Leases(w.namespace).Get(ctx, "election", metav1.GetOptions{}))
	check(*lease.Spec.HolderIdentity == "third" && *lease.Spec.LeaseTransitions >= 2, "the lease: %v", lease.Spec)
}

func events(ctx context.Context, w *world) {
	about := got(w.json.CoreV1().ConfigMaps(w.namespace).Create(ctx, configMap("about", nil), metav1.CreateOptions{}))
	about.Kind, about.APIVersion = "ConfigMap", "v1"
	coming := got(w.proto.CoreV1().Events(w.namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=about"}))
	defer coming.Stop()
	old := record.NewBroadcaster(record.WithContext(ctx))
	old.StartRecordingToSink(&corev1Sink{w, ctx})
	defer old.Shutdown()
	teller := old.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "old"})
	teller.Event(about, corev1.EventTypeNormal, "Told", "once")
	event := next(ctx, coming).Object.(*corev1.Event)
	check(event.Reason == "Told" && event.Count == 1, "the first: %v", event)
	teller.Event(about, corev1.EventTypeNormal, "Told", "once")
	event = next(ctx, coming).Object.(*corev1.Event)
	check(event.Count == 2, "the second counts on: %v", event)

	newer := eventsv1.NewBroadcaster(&eventsv1.EventSinkImpl{Interface: w.json.EventsV1()})
	must(newer.StartRecordingToSinkWithContext(ctx))
	defer newer.Shutdown()
	newer.NewRecorder(scheme.Scheme, "example.com/newer").Eventf(about, nil, corev1.EventTypeWarning, "Said", "Saying", "%d times", 3)
	event = next(ctx, coming).Object.(*corev1.Event)
	check(event.Reason == "Said" && event.Action == "Saying" && event.ReportingController == "example.com/newer" && event.Message == "3 times",
		"by events.k8s.io: %v", event)
	found := got(w.json.EventsV1().Events(w.namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=Said"}))
	check(len(found.Items) == 1 && found.Items[0].Regarding.Name == "about" && found.Items[0].Note == "3 times", "read as such: %v", found.Items)
}

// A sink of a recorder that carries the step's context.
type corev1Sink struct {
	w   *world
	ctx context.Context
}

func (s *corev1Sink) Create(event *corev1.Event) (*corev1.Event, error) {
	return s.w.json.CoreV1().Events(s.w.namespace).CreateWithEventNamespaceWithContext(s.ctx, event)
}

func (s *corev1Sink) Update(event *corev1.Event) (*corev1.Event, error) {
	return s.w.json.CoreV1().Events(s.w.namespace).UpdateWithEventNamespaceWithContext(s.ctx, event)
}

func (s *corev1Sink) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.w.json.CoreV1().Events(s.w.namespace).PatchWithEventNamespaceWithContext(s.ctx, event, data)
}
