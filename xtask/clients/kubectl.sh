# The verbs of a stock kubectl, of whatever age.
. "$(dirname "$0")/steps.sh"
space=kubectl-$RANDOM
k() { "$CLIENT" --namespace "$space" "$@"; }
cat > site.yaml <<'Y'
apiVersion: v1
kind: ConfigMap
metadata: {name: page, labels: {part: site}}
data: {index.html: hello}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web, part: site}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: toolbox
    command: [web, -p, "8080", /page]
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /index.html, port: http}, periodSeconds: 1}
    volumeMounts: [{name: page, mountPath: /page}]
  volumes: [{name: page, configMap: {name: page}}]
Y

says "version" "Server Version: v1.37" k version
says "api-versions" "^coordination.k8s.io/v1$" k api-versions
says "api-resources" "^pods +po +v1 +true +Pod" k api-resources
says "api-resources -o wide" "create,delete,deletecollection,get,list,patch,update,watch" k api-resources -o wide --api-group=""
says "cluster-info" "is running at" k cluster-info
says "create namespace" created k create namespace "$space"
step "wait for what comes" k wait --for=create serviceaccount/default --timeout 60s
says "apply" "pod/web created" k apply -f site.yaml
step "wait for a condition" k wait --for=condition=Ready pod/web --timeout 60s
says "wait for a JSONPath" "condition met" k wait --for=jsonpath='{.status.phase}'=Running pod/web --timeout 60s
says "apply of the same" "configmap/page unchanged" k apply -f site.yaml
step "diff of the same" k diff -f site.yaml
sed 's/hello/bye/' site.yaml > changed.yaml
refused "diff" "[+] +index.html: bye" k diff -f changed.yaml
says "apply of a change" "configmap/page configured" k apply -f changed.yaml
says "apply on the server's side" "serverside-applied" k apply --server-side --force-conflicts -f site.yaml
refused "its conflict" 'conflict with "kubectl"' k apply --server-side --field-manager other -f changed.yaml
says "apply in a dry run" "server dry run" k apply --dry-run=server -f changed.yaml
refused "an unknown field" 'unknown field "dota"' k create -f - <<<'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"dota":{}}'
says "apply view-last-applied" "index.html: hello" k apply view-last-applied cm/page
says "get" "^web +1/1 +Running" k get pods
says "get -o wide" "^web .* [0-9.]+ +[^ ]+ +<none> +<none>" k get pods -o wide
says "get -o yaml" "^ +image: toolbox" k get pod web -o yaml
says "get -o jsonpath" "^web:8080$" k get pods -o 'jsonpath={range .items[*]}{.metadata.name}:{.spec.containers[0].ports[0].containerPort}{end}'
says "get -o go-template" "^web$" k get pods -o go-template='{{range .items}}{{.metadata.name}}{{end}}'
says "get -o custom-columns" "^web +Running" k get pods -o custom-columns=N:.metadata.name,P:.status.phase
says "get of several kinds" "^pod/web" k get pods,cm -l part=site -o name
says "get --raw" '"kind":"PodList"' k get --raw "/api/v1/namespaces/$space/pods?limit=1"
says "get --sort-by, in chunks" "page" k get cm --sort-by=.metadata.name --chunk-size=1
says "describe" "Started .*Container started" k describe pod web
says "describe node" "Non-terminated Pods" k describe nodes
says "events" "Scheduled" k events --for pod/web
says "explain" "terminationGracePeriodSeconds" k explain pod.spec
says "explain --recursive" "matchExpressions" k explain pods --recursive
says "explain a field" "FIELD: +image" k explain pod.spec.containers.image
for kind in strategic merge; do says "patch $kind" "patched" k patch cm page --type $kind -p "{\"data\":{\"$kind\":\"1\"}}"; done
says "patch json" "patched" k patch cm page --type json -p '[{"op":"remove","path":"/data/merge"}]'
says "patch a subresource" "patched" k patch pod web --subresource status --type merge -p '{"status":{"message":"m"}}'
says "label" "labeled" k label pod web tier=front
refused "label without overwriting" "already has a value" k label pod web tier=back
says "label all" "labeled" k label --overwrite --all pods tier=back
says "annotate" "annotated" k annotate cm page note=one
says "edit" "edited" env EDITOR="sed -i s/hello/edited/" "$CLIENT" -n "$space" edit cm page
says "what was edited" "^edited 1$" k get cm page -o 'jsonpath={.data.index\.html} {.data.strategic}'
refused "edit to what is not valid" "Edit cancelled|error" env EDITOR="sed -i s/kind:/kund:/" "$CLIENT" -n "$space" edit cm page
says "set image" "image updated" k set image pod/web c=gousse.dev/toolbox:latest
says "logs" "." k logs web --tail 5 --timestamps --all-containers
says "exec" "^web$" k exec web -c c -- hostname
says "exec with an input" "^given$" bash -c "echo given | '$CLIENT' -n $space exec -i web -- cat"
refused "exec's exit code" "exit code 5" k exec web -- sh -c 'exit 5'
mkdir -p sent && seq 1 20000 > sent/numbers
step "cp to a pod" k cp sent web:/tmp/sent -c c
step "cp back" k cp web:/tmp/sent/numbers back
step "what came back" cmp sent/numbers back

forward() {
    coproc F { exec "$CLIENT" -n "$space" port-forward pod/web :8080 --address 127.0.0.1 2>&1; }
    local line pid=$F_PID
    read -r -t 30 line <&"${F[0]}" && [[ $line =~ 127.0.0.1:([0-9]+) ]] || { echo "it said: $line"; return 1; }
    exec 3<>"/dev/tcp/127.0.0.1/${BASH_REMATCH[1]}"
    printf 'GET /index.html HTTP/1.0\r\n\r\n' >&3
    cat <&3
    exec 3>&-
    kill "$pid"
    wait "$pid" 2>/dev/null
    return 0
}
says "port-forward" "200 OK" forward
says "auth can-i" "^yes$" k auth can-i delete pods
says "auth can-i as another" "^no" bash -c "'$CLIENT' -n $space auth can-i delete pods --as system:serviceaccount:$space:default || true"
says "auth can-i --list" "selfsubjectaccessreviews" k auth can-i --list
says "auth whoami" "system:masters" k auth whoami
says "create token" "^ey[^.]+\.[^.]+\.[^.]+$" k create token default --audience vault --duration 20m
says "create configmap" created k create configmap made --from-literal a=b --from-file sent
says "create secret" created k create secret generic made --from-literal a=b
says "create from stdin, a generated name" "made-.* created" k create -f - <<<'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"made-"}}'
says "run" "^said$" k run once --image toolbox --restart Never --attach --rm -q -- echo said
says "debug" "^debugged$" bash -c "'$CLIENT' -n $space debug web --image toolbox --profile general --attach=true -q -c look -- echo debugged"
step "debug of a copy" k debug web --image toolbox --profile general --copy-to copied --attach=false -c look -- sleep inf
# A container has figures ten seconds after its start, as under metrics-server.
figures() { local said; said=$(k top pods 2>&1) || [[ $said == "error: metrics not available yet" ]] && echo "$said"; }
says "top" "^web +[0-9]+m +[0-9]+Mi|not available yet" figures
says "top node" "%" k top nodes
says "expose" "exposed" k expose pod web --name svc --port 80 --target-port 8080 --cluster-ip None
says "cordon" "cordoned" k cordon --selector kubernetes.io/os=linux
says "uncordon" "uncordoned" k uncordon --selector kubernetes.io/os=linux
says "taint and back" "untainted" bash -c "'$CLIENT' taint nodes --all a=b:PreferNoSchedule && '$CLIENT' taint nodes --all a-"
says "replace" "replaced" bash -c "'$CLIENT' -n $space get cm page -o yaml | '$CLIENT' replace -f -"
says "replace --force" "pod/web replaced" k replace --force -f site.yaml --timeout 60s
step "wait after it" k wait --for=condition=Ready pod/web --timeout 60s
step "apply anew" k apply -f site.yaml
says "apply --prune" "pod/web pruned" bash -c "sed '/^---/,\$d' site.yaml | '$CLIENT' -n $space apply -f - --prune -l part=site --prune-allowlist core/v1/Pod --prune-allowlist core/v1/ConfigMap"
step "what was left" test "$(k get pods,cm -l part=site -o name)" = configmap/page
step "wait for an end" bash -c "'$CLIENT' -n $space delete pod copied --now --wait=false && '$CLIENT' -n $space wait --for=delete pod/copied --timeout 60s"
says "delete by label" 'configmap "page" deleted' k delete pods,cm -l part=site
refused "delete what is not there" "NotFound" k delete cm page
step "delete if it is there" k delete cm page --ignore-not-found
says "delete a namespace" "deleted" "$CLIENT" delete namespace "$space" --timeout 60s
exit $failed
