package main

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func tokens(ctx context.Context, w *world) {
	core, none := w.proto.CoreV1(), metav1.CreateOptions{}
	got(core.ServiceAccounts(w.namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: named("worker")}, none))
	held := got(core.Pods(w.namespace).Create(ctx, func() *corev1.Pod {
		held := pod("p", "sleep", "inf")
		held.Spec.ServiceAccountName = "worker"
		held.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/held"}}
		return held
	}(), none))
	seconds := int64(1200)
	ask := func(bound *authenticationv1.BoundObjectReference, audiences ...string) *authenticationv1.TokenRequest {
		return got(core.ServiceAccounts(w.namespace).CreateToken(ctx, "worker", &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds, BoundObjectRef: bound, Audiences: audiences}}, none))
	}
	name := "system:serviceaccount:" + w.namespace + ":worker"
	plain := ask(nil)
	check(!plain.Status.ExpirationTimestamp.IsZero(), "it holds for ever: %v", plain.Status)
	config := rest.AnonymousClientConfig(w.config)
	config.BearerToken = plain.Status.Token
	theirs := got(kubernetes.NewForConfig(config))
	self := got(theirs.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, none))
	check(self.Status.UserInfo.Username == name && len(self.Status.UserInfo.Groups) == 3, "who it is: %v", self.Status.UserInfo)
	_, err := theirs.CoreV1().Secrets(w.namespace).List(ctx, metav1.ListOptions{})
	check(apierrors.IsForbidden(err) && err.Error() == fmt.Sprintf(
		`secrets is forbidden: User %q cannot list resource "secrets" in API group "" in the namespace %q`, name, w.namespace), "what it may not: %v", err)
	may := got(theirs.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: w.namespace, Verb: "delete", Resource: "pods"}}}, none))
	check(!may.Status.Allowed, "it may delete pods")
	got(theirs.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: w.namespace}}, none))

	review := func(token string, audiences ...string) authenticationv1.TokenReviewStatus {
		return got(w.json.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, none)).Status
	}
	vault := ask(nil, "vault").Status.Token
	check(!review(vault).Authenticated && review(vault, "vault", "other").Authenticated, "a token of another audience")
	bound := ask(&authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "p", UID: held.UID}).Status.Token
	told := review(bound)
	check(told.Authenticated && told.User.Extra["authentication.kubernetes.io/pod-name"][0] == "p", "bound to a pod: %v", told)
	gone := w.watchPod(ctx, "p")
	must(core.Pods(w.namespace).Delete(ctx, "p", metav1.DeleteOptions{}))
	w.untilGone(ctx, gone)
	check(!review(bound).Authenticated, "it outlives its pod")
	config.BearerToken = bound
	_, err = got(kubernetes.NewForConfig(config)).CoreV1().Secrets(w.namespace).List(ctx, metav1.ListOptions{})
	check(apierrors.IsUnauthorized(err), "with a pod's token after its end: %v", err)

	other := rest.CopyConfig(w.config)
	other.Impersonate = rest.ImpersonationConfig{UserName: "jane", Groups: []string{"dev"}, Extra: map[string][]string{"scope": {"a b"}}}
	jane := got(got(kubernetes.NewForConfig(other)).AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, none))
	check(jane.Status.UserInfo.Username == "jane" && jane.Status.UserInfo.Extra["scope"][0] == "a b", "impersonated: %v", jane.Status)
}

func (w *world) watchPod(ctx context.Context, name string) watch.Interface {
	return got(w.proto.CoreV1().Pods(w.namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name}))
}

func (w *world) untilGone(ctx context.Context, from watch.Interface) {
	defer from.Stop()
	for next(ctx, from).Type != watch.Deleted {
	}
}

func eviction(ctx context.Context, w *world) {
	made := w.runPod(ctx, pod("p", "sleep", "inf"))
	evict := func(options metav1.DeleteOptions) error {
		return w.proto.PolicyV1().Evictions(w.namespace).Evict(ctx, &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: w.namespace}, DeleteOptions: &options})
	}
	must(evict(metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}))
	nobody := types.UID("nobody")
	err := evict(metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &nobody}})
	check(apierrors.IsConflict(err), "another's UID: %v", err)
	gone := w.watchPod(ctx, "p")
	must(evict(metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &made.UID}}))
	w.untilGone(ctx, gone)
	check(apierrors.IsNotFound(evict(metav1.DeleteOptions{})), "evicted twice")
}

func deletions(ctx context.Context, w *world) {
	maps := w.json.CoreV1().ConfigMaps(w.namespace)
	events := got(maps.Watch(ctx, metav1.ListOptions{LabelSelector: "app"}))
	defer events.Stop()
	untilGone := func(name string) {
		for event := next(ctx, events); event.Type != watch.Deleted || event.Object.(*corev1.ConfigMap).Name != name; event = next(ctx, events) {
		}
	}
	family := func(name string) {
		owner := got(maps.Create(ctx, configMap(name, nil), metav1.CreateOptions{}))
		child := configMap(name+"-child", nil)
		yes := true
		child.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: name, UID: owner.UID, BlockOwnerDeletion: &yes}}
		child.Labels["group"] = name
		got(maps.Create(ctx, child, metav1.CreateOptions{}))
	}
	by := func(policy metav1.DeletionPropagation) metav1.DeleteOptions {
		return metav1.DeleteOptions{PropagationPolicy: &policy}
	}
	family("behind")
	must(maps.Delete(ctx, "behind", by(metav1.DeletePropagationBackground)))
	untilGone("behind-child")
	family("before")
	must(maps.Delete(ctx, "before", by(metav1.DeletePropagationForeground)))
	owner, err := maps.Get(ctx, "before", metav1.GetOptions{})
	check(apierrors.IsNotFound(err) || owner.Finalizers[0] == metav1.FinalizerDeleteDependents, "an owner that waits: %v %v", owner, err)
	untilGone("before-child")
	untilGone("before")
	family("left")
	must(maps.Delete(ctx, "left", by(metav1.DeletePropagationOrphan)))
	untilGone("left")
	orphan := got(maps.Get(ctx, "left-child", metav1.GetOptions{}))
	check(len(orphan.OwnerReferences) == 0, "an orphan has owners: %v", orphan.OwnerReferences)

	family("many")
	must(maps.DeleteCollection(ctx, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}, metav1.ListOptions{}))
	must(maps.DeleteCollection(ctx, by(metav1.DeletePropagationForeground), metav1.ListOptions{LabelSelector: "app=many"}))
	untilGone("many-child")
	untilGone("many")
	got(maps.Get(ctx, "left-child", metav1.GetOptions{}))
	must(maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=left-child"}))
	untilGone("left-child")
	held := configMap("held", nil)
	held.Finalizers = []string{"example.com/wait"}
	got(maps.Create(ctx, held, metav1.CreateOptions{}))
	must(maps.Delete(ctx, "held", metav1.DeleteOptions{}))
	waits := got(maps.Get(ctx, "held", metav1.GetOptions{}))
	check(waits.DeletionTimestamp != nil, "it has a finalizer: %v", waits.ObjectMeta)
	got(maps.Patch(ctx, "held", types.JSONPatchType, []byte(`[{"op":"remove","path":"/metadata/finalizers"}]`), metav1.PatchOptions{}))
	untilGone("held")
}

func subresources(ctx context.Context, w *world) {
	small := pod("p", "sleep", "inf")
	small.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}}
	made := w.runPod(ctx, small)
	pods := w.proto.CoreV1().Pods(w.namespace)
	made.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: "look", Image: "toolbox", Command: []string{"echo", "seen"}}}}
	got(pods.UpdateEphemeralContainers(ctx, "p", made, metav1.UpdateOptions{}))
	w.untilPod(ctx, "p", func(pod *corev1.Pod) bool {
		told := pod.Status.EphemeralContainerStatuses
		return len(told) == 1 && told[0].State.Terminated != nil
	})
	check(string(got(pods.GetLogs("p", &corev1.PodLogOptions{Container: "look"}).DoRaw(ctx))) == "seen\n", "what it said")
	got(pods.Patch(ctx, "p", types.StrategicMergePatchType,
		[]byte(`{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"20m"}}}]}}`), metav1.PatchOptions{}, "resize"))
	w.untilPod(ctx, "p", func(pod *corev1.Pod) bool {
		told := pod.Status.ContainerStatuses
		return len(told) == 1 && told[0].Resources != nil && told[0].Resources.Requests.Cpu().MilliValue() == 20
	})
}

func namespaces(ctx context.Context, w *world) {
	spaces := w.json.CoreV1().Namespaces()
	name := got(spaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "full-"}}, metav1.CreateOptions{})).Name
	inside := &world{config: w.config, json: w.json, proto: w.proto, dynamic: w.dynamic, namespace: name}
	inside.account(ctx)
	inside.runPod(ctx, pod("p", "sleep", "inf"))
	got(w.json.CoreV1().ConfigMaps(name).Create(ctx, configMap("m", nil), metav1.CreateOptions{}))
	gone := got(spaces.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name}))
	must(spaces.Delete(ctx, name, metav1.DeleteOptions{}))
	_, err := w.json.CoreV1().ConfigMaps(name).Create(ctx, configMap("late", nil), metav1.CreateOptions{})
	check(err != nil && (apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsNotFound(err)), "made in a namespace that ends: %v", err)
	w.untilGone(ctx, gone)
	check(len(got(w.json.CoreV1().Pods(name).List(ctx, metav1.ListOptions{})).Items) == 0, "its pods are there")
}
