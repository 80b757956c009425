# Helm over a chart with an account, its role, a map, a secret, a service, a pod and hooks.
. "$(dirname "$0")/steps.sh"
helm() { "$CLIENT" --namespace helm "$@"; }
kube() { "$KUBECTL" --namespace helm "$@"; }
chart=$here/chart
values=()

step "lint" helm lint "$chart"
says "install waits for the pod" "STATUS: deployed" helm install site "$chart" "${values[@]}" --create-namespace --wait --timeout 60s
says "capabilities" "^v1.37" kube get cm site -o 'jsonpath={.data.kubernetes}'
says "the pod has the secret" "^aGVsbG8=$" kube exec site -- printenv PASSWORD
refused "install again" "cannot re-?use a name" helm install site "$chart" "${values[@]}"
says "status shows the pod" "pod/site|v1/Pod" helm status site
says "get manifest" "kind: Secret" helm get manifest site
says "get values" "greeting: hello" helm get values site --all
says "list" "site-1.2.3" helm list
says "test runs its pod" "Phase: +Succeeded" helm test site --logs
says "test's log" "tested hello" kube logs site-test
says "upgrade in a dry run of the server's" "index.html: bye" helm upgrade site "$chart" "${values[@]}" --set greeting=bye --dry-run=server
says "the dry run changed nothing" "^hello$" kube get cm site -o 'jsonpath={.data.index\.html}'
says "upgrade" "REVISION: 2" helm upgrade site "$chart" "${values[@]}" --set greeting=bye --wait --timeout 60s
says "the upgrade is there" "^bye bye$" kube get cm/site pod/site -o 'jsonpath={.items[0].data.index\.html} {.items[1].metadata.annotations.greeting}'
says "a look-up" "^helm$" kube get cm site -o 'jsonpath={.data.space}'
step "somebody else edits a field" kube patch cm site --type merge -p '{"data":{"index.html":"edited","more":"mine"}}'
says "rollback" "Rollback was a success" helm rollback site 1 --wait --timeout 60s --force-conflicts
says "what was rolled back, and what is another's" "^hello mine$" kube get cm site -o 'jsonpath={.data.index\.html} {.data.more}'
says "history" "3 .*deployed .*Rollback to 1" helm history site
says "revisions are secrets" "^3$" bash -c "'$KUBECTL' -n helm get secrets -l owner=helm -o name | grep -c ."
says "uninstall waits" "uninstalled" helm uninstall site --wait --timeout 60s
refused "nothing is left" "NotFound" kube get pod/site cm/site secret/site sa/site svc/site
step "the namespace goes" "$KUBECTL" delete namespace helm --timeout 60s
exit $failed
