package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	acv1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/retry"
)

// Notes the media types of answers.
type listener struct {
	inner http.RoundTripper
	lock  sync.Mutex
	heard map[string]int
}

func (l *listener) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := l.inner.RoundTrip(request)
	if err == nil {
		l.lock.Lock()
		defer l.lock.Unlock()
		l.heard[strings.Split(answer.Header.Get("Content-Type"), ";")[0]]++
	}
	return answer, err
}

func typed(ctx context.Context, w *world) {
	config := rest.CopyConfig(w.config)
	config.ContentType, config.AcceptContentTypes = protobuf, protobuf
	ear := &listener{heard: map[string]int{}}
	config.Wrap(func(inner http.RoundTripper) http.RoundTripper { ear.inner = inner; return ear })
	binary := got(kubernetes.NewForConfig(config)).CoreV1()
	text := w.json.CoreV1()

	made := got(binary.ConfigMaps(w.namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "made-", Annotations: map[string]string{"a": "ü"}},
		Data:       map[string]string{"a": "1"}, BinaryData: map[string][]byte{"b": {0, 255, 10}},
	}, metav1.CreateOptions{}))
	check(strings.HasPrefix(made.Name, "made-") && len(made.Name) == 10, "generated name %q", made.Name)
	read := got(text.ConfigMaps(w.namespace).Get(ctx, made.Name, metav1.GetOptions{}))
	check(equality.Semantic.DeepEqual(made, read), "protobuf %v, JSON %v", made, read)

	whole := pod("whole", "sleep", "inf")
	whole.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "b"}}
	whole.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/held"}}
	got(binary.Pods(w.namespace).Create(ctx, whole, metav1.CreateOptions{}))
	one := got(text.Pods(w.namespace).Get(ctx, "whole", metav1.GetOptions{}))
	other := got(binary.Pods(w.namespace).Get(ctx, "whole", metav1.GetOptions{}))
	check(equality.Semantic.DeepEqual(one.Spec, other.Spec), "protobuf %v, JSON %v", other.Spec, one.Spec)
	check(one.Spec.RestartPolicy == corev1.RestartPolicyAlways && one.UID != "", "no defaults: %v", one)
	check(len(got(binary.Pods(w.namespace).List(ctx, metav1.ListOptions{})).Items) == 1, "one pod is listed")
	check(len(got(binary.Nodes().List(ctx, metav1.ListOptions{})).Items) > 0, "nodes are listed")

	_, err := binary.Pods(w.namespace).Get(ctx, "nobody", metav1.GetOptions{})
	check(apierrors.IsNotFound(err) && err.Error() == `pods "nobody" not found`, "of a pod that is not there: %v", err)
	_, err = binary.Pods(w.namespace).Create(ctx, whole, metav1.CreateOptions{})
	check(apierrors.IsAlreadyExists(err), "made twice: %v", err)
	bad := pod("bad")
	bad.Spec.Containers[0].Image = ""
	bad.Spec.RestartPolicy = "Sometimes"
	_, err = binary.Pods(w.namespace).Create(ctx, bad, metav1.CreateOptions{})
	status, is := err.(apierrors.APIStatus)
	check(is && apierrors.IsInvalid(err) && len(status.Status().Details.Causes) == 2, "an invalid pod: %v", err)
	check(len(ear.heard) == 1 && ear.heard[protobuf] > 5, "media types of answers: %v", ear.heard)
}

func writes(ctx context.Context, w *world) {
	maps := w.proto.CoreV1().ConfigMaps(w.namespace)
	first := got(maps.Create(ctx, configMap("m", map[string]string{"k": "1"}), metav1.CreateOptions{}))
	next := first.DeepCopy()
	next.Data["k"] = "2"
	got(maps.Update(ctx, next, metav1.UpdateOptions{}))
	_, err := maps.Update(ctx, next, metav1.UpdateOptions{})
	check(apierrors.IsConflict(err), "an old revision: %v", err)
	tries := 0
	must(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		tries++
		if tries > 1 {
			next = got(maps.Get(ctx, "m", metav1.GetOptions{}))
		}
		next.Data["k"] = "3"
		_, err := maps.Update(ctx, next, metav1.UpdateOptions{})
		return err
	}))
	check(tries == 2, "%d tries", tries)

	dry := []string{metav1.DryRunAll}
	got(maps.Create(ctx, configMap("dry", nil), metav1.CreateOptions{DryRun: dry}))
	_, err = maps.Get(ctx, "dry", metav1.GetOptions{})
	check(apierrors.IsNotFound(err), "a dry run made it: %v", err)
	must(maps.Delete(ctx, "m", metav1.DeleteOptions{DryRun: dry}))
	nobody := types.UID("nobody")
	err = maps.Delete(ctx, "m", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &nobody}})
	check(apierrors.IsConflict(err), "another's UID: %v", err)
	check(got(maps.Get(ctx, "m", metav1.GetOptions{})).Data["k"] == "3", "it is still there")

	raw := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "strict"}, "dota": map[string]any{}}}
	resource := w.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(w.namespace)
	_, err = resource.Create(ctx, raw, metav1.CreateOptions{FieldValidation: "Strict"})
	check(apierrors.IsBadRequest(err) && strings.Contains(err.Error(), `unknown field "dota"`), "strict: %v", err)

	held := pod("held", "sleep", "inf")
	held.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/held"}}
	pods := w.json.CoreV1().Pods(w.namespace)
	made := got(pods.Create(ctx, held, metav1.CreateOptions{}))
	made.Status.Message = "said by status"
	made.Spec.Containers[0].Image = "other"
	told := got(pods.UpdateStatus(ctx, made, metav1.UpdateOptions{}))
	check(told.Status.Message == "said by status" && told.Spec.Containers[0].Image == "toolbox", "a status write: %v", told)
}

func pages(ctx context.Context, w *world) {
	maps := w.proto.CoreV1().ConfigMaps(w.namespace)
	for number := range 11 {
		got(maps.Create(ctx, configMap(fmt.Sprintf("page-%02d", number), nil), metav1.CreateOptions{}))
	}
	ours := metav1.ListOptions{Limit: 4}
	first := got(maps.List(ctx, ours))
	check(len(first.Items) == 4 && first.Continue != "" && first.RemainingItemCount != nil, "the first page: %v", first.ListMeta)
	// What goes on is what was there when it began.
	must(maps.Delete(ctx, "page-09", metav1.DeleteOptions{}))
	seen := first.Items
	for next := first.Continue; next != ""; {
		page := got(maps.List(ctx, metav1.ListOptions{Limit: 4, Continue: next}))
		check(page.ResourceVersion == first.ResourceVersion, "a page of another revision: %v", page.ListMeta)
		seen = append(seen, page.Items...)
		next = page.Continue
	}
	names := map[string]bool{}
	for _, item := range seen {
		names[item.Name] = true
	}
	check(names["page-09"] && len(names) == len(seen) && len(seen) >= 11, "the pages have %v", names)
	exact := got(maps.List(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact}))
	check(len(exact.Items) == len(seen), "exactly at %s: %d of %d", first.ResourceVersion, len(exact.Items), len(seen))

	all := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) { return maps.List(ctx, options) }))
	all.PageSize = 3
	count := 0
	must(all.EachListItem(ctx, metav1.ListOptions{LabelSelector: "app"}, func(runtime.Object) error { count++; return nil }))
	check(count == 10, "the pager found %d", count)
	_, err := maps.List(ctx, metav1.ListOptions{Limit: 4, Continue: "nonsense"})
	check(apierrors.IsBadRequest(err), "a token that is none: %v", err)
}

func discovery(ctx context.Context, w *world) {
	client := w.json.Discovery()
	version := got(client.ServerVersion())
	check(version.Major == "1" && strings.HasPrefix(version.Minor, "37"), "version %v", version)
	groups, lists, err := client.ServerGroupsAndResources()
	must(err)
	check(len(groups) > 3 && len(lists) > 3, "%d groups, %d lists", len(groups), len(lists))
	got(client.ServerPreferredNamespacedResources())
	got(client.OpenAPISchema())
	paths := got(client.OpenAPIV3().Paths())
	got(paths["api/v1"].Schema("application/json"))
	spec := got(openapi3.NewRoot(client.OpenAPIV3()).GVSpec(schema.GroupVersion{Group: "coordination.k8s.io", Version: "v1"}))
	check(spec.Components.Schemas["io.k8s.api.coordination.v1.Lease"] != nil, "leases have no schema")

	mapper := restmapper.NewDiscoveryRESTMapper(got(restmapper.GetAPIGroupResources(client)))
	for kind, plural := range map[schema.GroupKind]string{
		{Kind: "Pod"}: "pods", {Kind: "Node"}: "nodes", {Group: "coordination.k8s.io", Kind: "Lease"}: "leases",
		{Group: "networking.k8s.io", Kind: "Ingress"}: "ingresses", {Group: "events.k8s.io", Kind: "Event"}: "events",
	} {
		mapping := got(mapper.RESTMapping(kind))
		check(mapping.Resource.Resource == plural, "%v is %v", kind, mapping.Resource)
		check((mapping.Scope.Name() == meta.RESTScopeNameRoot) == (plural == "nodes"), "the scope of %v", kind)
		got(w.dynamic.Resource(mapping.Resource).List(ctx, metav1.ListOptions{}))
	}
	mapping := got(mapper.RESTMapping(schema.GroupKind{Kind: "ConfigMap"}, "v1"))
	maps := w.dynamic.Resource(mapping.Resource).Namespace(w.namespace)
	object := &unstructured.Unstructured{}
	object.SetUnstructuredContent(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"a": "b"}})
	object.SetName("dynamic")
	made := got(maps.Create(ctx, object, metav1.CreateOptions{}))
	must(unstructured.SetNestedField(made.Object, "c", "data", "a"))
	got(maps.Update(ctx, made, metav1.UpdateOptions{}))
	got(maps.Patch(ctx, "dynamic", types.MergePatchType, []byte(`{"data":{"d":"e"}}`), metav1.PatchOptions{}))
	read := got(maps.Get(ctx, "dynamic", metav1.GetOptions{}))
	data, _, _ := unstructured.NestedStringMap(read.Object, "data")
	check(data["a"] == "c" && data["d"] == "e", "the dynamic client reads %v", data)

	metas := got(metadata.NewForConfig(w.config)).Resource(mapping.Resource).Namespace(w.namespace)
	only := got(metas.Get(ctx, "dynamic", metav1.GetOptions{}))
	check(only.UID == read.GetUID() && len(only.ManagedFields) > 0, "metadata: %v", only)
	got(metas.Patch(ctx, "dynamic", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{}))
	check(len(got(metas.List(ctx, metav1.ListOptions{LabelSelector: "x=y"})).Items) == 1, "by its new label")

	table := &metav1.Table{}
	must(w.json.CoreV1().RESTClient().Get().Namespace(w.namespace).Resource("configmaps").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(ctx).Into(table))
	check(len(table.Rows) >= 1 && table.ColumnDefinitions[0].Name == "Name", "the table: %v", table)
}

func apply(ctx context.Context, w *world) {
	maps := w.proto.CoreV1().ConfigMaps(w.namespace)
	of := func(data map[string]string) *acv1.ConfigMapApplyConfiguration {
		return acv1.ConfigMap("applied", w.namespace).WithData(data)
	}
	alice, bob := metav1.ApplyOptions{FieldManager: "alice"}, metav1.ApplyOptions{FieldManager: "bob"}
	got(maps.Apply(ctx, of(map[string]string{"shared": "a", "own": "a"}), alice))
	_, err := maps.Apply(ctx, of(map[string]string{"shared": "b"}), bob)
	status, is := err.(apierrors.APIStatus)
	check(is && apierrors.IsConflict(err), "a conflict: %v", err)
	cause := status.Status().Details.Causes[0]
	check(cause.Type == metav1.CauseTypeFieldManagerConflict && cause.Field == ".data.shared" &&
		strings.Contains(cause.Message, `conflict with "alice"`), "its cause: %v", cause)
	bob.Force = true
	taken := got(maps.Apply(ctx, of(map[string]string{"shared": "b"}), bob))
	check(taken.Data["shared"] == "b" && taken.Data["own"] == "a", "by force: %v", taken.Data)
	left := got(maps.Apply(ctx, of(map[string]string{}), alice))
	check(left.Data["shared"] == "b" && len(left.Data) == 1, "what alice left out: %v", left.Data)
	mine := got(acv1.ExtractConfigMap(left, "bob"))
	check(mine.Data["shared"] == "b" && len(mine.Data) == 1, "what is bob's: %v", mine.Data)
	same := got(maps.Apply(ctx, mine, bob))
	check(same.ResourceVersion == left.ResourceVersion, "an apply of the same wrote %s after %s", same.ResourceVersion, left.ResourceVersion)

	// Two managers of one list, by its keys.
	container := func(name string) *acv1.PodApplyConfiguration {
		return acv1.Pod("applied", w.namespace).WithSpec(acv1.PodSpec().WithSchedulingGates(acv1.PodSchedulingGate().WithName("example.com/held")).
			WithContainers(acv1.Container().WithName("c").WithImage("toolbox").WithEnv(acv1.EnvVar().WithName(name).WithValue("v"))))
	}
	pods := w.json.CoreV1().Pods(w.namespace)
	got(pods.Apply(ctx, container("A"), alice))
	_, err = pods.Apply(ctx, container("B"), metav1.ApplyOptions{FieldManager: "bob"})
	check(apierrors.IsInvalid(err), "the environment of a pod changes: %v", err)
	ready := acv1.PodCondition().WithType("example.com/checked").WithStatus(corev1.ConditionTrue)
	told := got(pods.ApplyStatus(ctx, acv1.Pod("applied", w.namespace).WithStatus(acv1.PodStatus().WithConditions(ready)), bob))
	count := 0
	for _, entry := range told.ManagedFields {
		if entry.Manager == "bob" && entry.Subresource == "status" && entry.Operation == metav1.ManagedFieldsOperationApply {
			count++
		}
	}
	check(count == 1, "managers of an applied status: %v", told.ManagedFields)
	raw := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "applied"}, "data": map[string]any{"more": "m"}}}
	resource := w.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(w.namespace)
	got(resource.Apply(ctx, "applied", raw, metav1.ApplyOptions{FieldManager: "carol"}))
}

func patches(ctx context.Context, w *world) {
	pods := w.proto.CoreV1().Pods(w.namespace)
	held := pod("p", "sleep", "inf")
	held.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/one"}, {Name: "example.com/two"}}
	held.Finalizers = []string{"example.com/a", "example.com/b"}
	got(pods.Create(ctx, held, metav1.CreateOptions{}))
	patch := func(kind types.PatchType, text string, more ...string) (*corev1.Pod, error) {
		return pods.Patch(ctx, "p", kind, []byte(text), metav1.PatchOptions{}, more...)
	}
	now := got(patch(types.JSONPatchType, `[{"op":"test","path":"/metadata/labels/app","value":"p"},
		{"op":"add","path":"/metadata/labels/a~1b","value":"1"},{"op":"copy","from":"/metadata/labels/app","path":"/metadata/labels/copy"}]`))
	check(now.Labels["a/b"] == "1" && now.Labels["copy"] == "p", "JSON: %v", now.Labels)
	_, err := patch(types.JSONPatchType, `[{"op":"test","path":"/metadata/labels/app","value":"q"}]`)
	check(apierrors.IsInvalid(err), "a test that fails: %v", err)
	_, err = patch(types.JSONPatchType, `{"op":"none"}`)
	check(apierrors.IsBadRequest(err), "a patch that is none: %v", err)

	now = got(patch(types.MergePatchType, `{"metadata":{"labels":{"copy":null,"m":"2"},"finalizers":["example.com/a"]}}`))
	check(now.Labels["copy"] == "" && now.Labels["m"] == "2" && len(now.Finalizers) == 1, "merge: %v", now.ObjectMeta)
	stale := fmt.Sprintf(`{"metadata":{"resourceVersion":%q,"labels":{"m":"3"}}}`, "1")
	_, err = patch(types.MergePatchType, stale)
	check(apierrors.IsConflict(err), "a patch of an old revision: %v", err)

	now = got(patch(types.StrategicMergePatchType, `{"spec":{"schedulingGates":[{"$patch":"delete","name":"example.com/one"}],
		"containers":[{"name":"c","image":"gousse.dev/toolbox:latest"}]},"metadata":{"finalizers":["example.com/c"]}}`))
	check(len(now.Spec.SchedulingGates) == 1 && now.Spec.Containers[0].Image == "gousse.dev/toolbox:latest" &&
		len(now.Spec.Containers[0].Command) == 2 && len(now.Finalizers) == 2, "strategic: %v", now)
	now = got(patch(types.StrategicMergePatchType, `{"metadata":{"$deleteFromPrimitiveList/finalizers":["example.com/a","example.com/c"],
		"$setElementOrder/finalizers":[]}}`))
	check(len(now.Finalizers) == 0, "taken from a list of words: %v", now.Finalizers)
	now = got(patch(types.StrategicMergePatchType, `{"status":{"conditions":[{"type":"example.com/x","status":"True"}],"message":"m"}}`, "status"))
	check(now.Status.Message == "m" && len(now.Status.Conditions) > 1, "the status: %v", now.Status)
	_, err = patch("application/nonsense", `{}`)
	check(apierrors.ReasonForError(err) == metav1.StatusReasonUnsupportedMediaType, "an unknown patch: %v", err)
}
