//! A pod's page: where it is, how its containers are, what they mount.

use api::tree;
use serde_json::Value;

use super::page::{Page, shown, text_or};

pub fn write(page: &mut Page, pod: &Value) {
    let (meta, spec, status) = (&pod["metadata"], &pod["spec"], &pod["status"]);
    page.field(0, "Name", shown(&meta["name"]));
    page.field(0, "Namespace", shown(&meta["namespace"]));
    page.field(0, "Priority", text_number(&spec["priority"]));
    if let Some(class) = spec["priorityClassName"].as_str() {
        page.field(0, "Priority Class Name", class);
    }
    if let Some(class) = spec["runtimeClassName"].as_str() {
        page.field(0, "Runtime Class Name", class);
    }
    page.field(0, "Service Account", text_or(&spec["serviceAccountName"], "default"));
    let node = match (spec["nodeName"].as_str(), status["hostIP"].as_str()) {
        (Some(name), Some(ip)) => format!("{name}/{ip}"),
        (Some(name), None) => format!("{name}/"),
        _ => "<none>".into(),
    };
    page.field(0, "Node", node);
    if !status["startTime"].is_null() {
        page.field(0, "Start Time", time(&status["startTime"]));
    }
    page.map(0, "Labels", &meta["labels"], "=");
    page.annotations(0, &meta["annotations"]);
    if meta["deletionTimestamp"].is_null() {
        page.field(0, "Status", shown(&status["phase"]));
    } else {
        page.field(0, "Status", format!("Terminating (since {})", time(&meta["deletionTimestamp"])));
        page.field(0, "Termination Grace Period", format!("{}s", text_number(&meta["deletionGracePeriodSeconds"])));
    }
    for (name, field) in [("Reason", "reason"), ("Message", "message")] {
        if let Some(text) = status[field].as_str().filter(|t| !t.is_empty()) {
            page.field(0, name, text);
        }
    }
    page.field(0, "IP", shown(&status["podIP"]));
    let ips: Vec<&Value> = status["podIPs"].as_array().into_iter().flatten().collect();
    if ips.is_empty() {
        page.field(0, "IPs", "<none>");
    } else {
        page.head(0, "IPs");
        ips.iter().for_each(|ip| page.field(1, "IP", shown(&ip["ip"])));
    }
    if let Some(owner) = meta["ownerReferences"].as_array().into_iter().flatten().find(|o| o["controller"] == true) {
        page.field(0, "Controlled By", format!("{}/{}", shown(&owner["kind"]), shown(&owner["name"])));
    }
    for (title, list, states) in [
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ] {
        let Some(containers) = spec[list].as_array().filter(|list| !list.is_empty()) else { continue };
        page.head(0, title);
        for container in containers {
            let state = status[states].as_array().into_iter().flatten().find(|s| s["name"] == container["name"]);
            write_container(page, container, Some(state.unwrap_or(&Value::Null)));
        }
    }
    page.head(0, "Conditions");
    let mut rows = vec![vec!["Type".to_string(), "Status".to_string()]];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    rows.extend(conditions.map(|c| vec![shown(&c["type"]), shown(&c["status"])]));
    // kubectl leaves a blank after the second column.
    let lines: Vec<String> = crate::table::aligned(&rows).lines().map(|l| l.trim_end().to_string()).collect();
    lines.iter().enumerate().for_each(|(n, line)| page.line(1, if n == 0 { line.clone() } else { format!("{line} ") }));
    volumes(page, 0, spec);
    page.field(0, "QoS Class", shown(&status["qosClass"]));
    page.map(0, "Node-Selectors", &spec["nodeSelector"], "=");
    let tolerations: Vec<String> = spec["tolerations"].as_array().into_iter().flatten().map(toleration).collect();
    page.field(0, "Tolerations", if tolerations.is_empty() { "<none>".into() } else { tolerations.join("\n") });
}

/// A template's pod, which has no state and no name of its own.
pub fn write_template(page: &mut Page, spec: &Value) {
    let inits = ("Init Containers", "initContainers");
    let kinds = [inits, ("Containers", "containers")];
    for (title, list) in kinds.iter().filter(|(_, list)| *list == "containers" || !tree::list(spec, list).is_empty()) {
        page.head(1, title);
        tree::list(spec, list).iter().for_each(|container| write_container(page, container, None));
    }
    volumes(page, 1, spec);
}

/// Below the name, which stands a blank further in where there is no state.
fn write_container(page: &mut Page, container: &Value, state: Option<&Value>) {
    let name = shown(&container["name"]);
    page.head(1, &if state.is_some() { name } else { format!(" {name}") });
    if let Some(state) = state {
        page.field(2, "Container ID", shown(&state["containerID"]));
    }
    page.field(2, "Image", shown(&container["image"]));
    if let Some(state) = state {
        page.field(2, "Image ID", shown(&state["imageID"]));
    }
    let ports = |field: &str| -> Vec<String> {
        let ports = container["ports"].as_array().into_iter().flatten();
        let one = |p: &Value| {
            let name = p["name"].as_str().map_or(String::new(), |name| format!(" ({name})"));
            format!("{}/{}{name}", p[field].as_i64().unwrap_or(0), text_or(&p["protocol"], "TCP"))
        };
        ports.map(one).collect()
    };
    let (own, host) = (ports("containerPort"), ports("hostPort"));
    page.field(
        2,
        if own.len() > 1 { "Ports" } else { "Port" },
        if own.is_empty() { "<none>".into() } else { own.join(", ") },
    );
    page.field(
        2,
        if host.len() > 1 { "Host Ports" } else { "Host Port" },
        if host.is_empty() { "<none>".into() } else { host.join(", ") },
    );
    for (name, field) in [("Command", "command"), ("Args", "args")] {
        if let Some(words) = container[field].as_array() {
            page.head(2, name);
            words.iter().for_each(|word| page.line(3, shown(word)));
        }
    }
    if let Some(state) = state {
        write_state(page, "State", &state["state"]);
        if state["lastState"]["terminated"].is_object() {
            write_state(page, "Last State", &state["lastState"]);
        }
        page.field(2, "Ready", if state["ready"] == true { "True" } else { "False" });
        page.field(2, "Restart Count", text_number(&state["restartCount"]));
    }
    for (name, field) in [("Limits", "limits"), ("Requests", "requests")] {
        if let Some(amounts) = container["resources"][field].as_object().filter(|m| !m.is_empty()) {
            page.head(2, name);
            amounts.iter().for_each(|(resource, amount)| page.field(3, resource, shown(amount)));
        }
    }
    for (name, field) in [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")] {
        if container[field].is_object() {
            page.field(2, name, probe(&container[field]));
        }
    }
    environment(page, container);
    let mounts: Vec<String> = container["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|m| {
            let mode = if m["readOnly"] == true { "ro" } else { "rw" };
            let path = m["subPath"].as_str().map_or(String::new(), |p| format!(",path={p:?}"));
            format!("{} from {} ({mode}{path})", shown(&m["mountPath"]), shown(&m["name"]))
        })
        .collect();
    if mounts.is_empty() {
        page.field(2, "Mounts", "<none>");
    } else {
        page.head(2, "Mounts");
        mounts.iter().for_each(|mount| page.line(3, mount));
    }
}

fn environment(page: &mut Page, container: &Value) {
    let from: Vec<String> = container["envFrom"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|f| {
            let (name, kind) = match f["configMapRef"].is_object() {
                true => (&f["configMapRef"], "ConfigMap"),
                false => (&f["secretRef"], "Secret"),
            };
            let optional = name["optional"] == true;
            format!("{}  {kind}  Optional: {optional}", shown(&name["name"]))
        })
        .collect();
    if !from.is_empty() {
        page.head(2, "Environment Variables from");
        from.iter().for_each(|line| page.line(3, line));
    }
    let Some(variables) = container["env"].as_array().filter(|list| !list.is_empty()) else {
        page.field(2, "Environment", "<none>");
        return;
    };
    page.head(2, "Environment");
    for variable in variables {
        let source = &variable["valueFrom"];
        let value = if source["fieldRef"].is_object() {
            format!(
                " ({}:{})",
                text_or(&source["fieldRef"]["apiVersion"], "v1"),
                shown(&source["fieldRef"]["fieldPath"])
            )
        } else if source["resourceFieldRef"].is_object() {
            let reference = &source["resourceFieldRef"];
            format!("{} ({})", text_or(&reference["containerName"], ""), shown(&reference["resource"]))
        } else if source["secretKeyRef"].is_object() {
            let reference = &source["secretKeyRef"];
            format!(
                "<set to the key '{}' in secret '{}'>  Optional: {}",
                shown(&reference["key"]),
                shown(&reference["name"]),
                reference["optional"] == true
            )
        } else if source["configMapKeyRef"].is_object() {
            let reference = &source["configMapKeyRef"];
            format!(
                "<set to the key '{}' of config map '{}'>  Optional: {}",
                shown(&reference["key"]),
                shown(&reference["name"]),
                reference["optional"] == true
            )
        } else {
            shown(&variable["value"])
        };
        page.field(3, &shown(&variable["name"]), value);
    }
}

fn write_state(page: &mut Page, name: &str, state: &Value) {
    if state["running"].is_object() {
        page.field(2, name, "Running");
        page.field(3, "Started", time(&state["running"]["startedAt"]));
    } else if state["terminated"].is_object() {
        let ended = &state["terminated"];
        page.field(2, name, "Terminated");
        for (label, field) in [("Reason", "reason"), ("Message", "message")] {
            if let Some(text) = ended[field].as_str().filter(|t| !t.is_empty()) {
                page.field(3, label, text);
            }
        }
        page.field(3, "Exit Code", text_number(&ended["exitCode"]));
        if let Some(signal) = ended["signal"].as_i64().filter(|s| *s > 0) {
            page.field(3, "Signal", signal.to_string());
        }
        page.field(3, "Started", time(&ended["startedAt"]));
        page.field(3, "Finished", time(&ended["finishedAt"]));
    } else {
        page.field(2, name, "Waiting");
        if let Some(reason) = state["waiting"]["reason"].as_str().filter(|r| !r.is_empty()) {
            page.field(3, "Reason", reason);
        }
    }
}

fn volumes(page: &mut Page, depth: usize, spec: &Value) {
    let Some(volumes) = spec["volumes"].as_array().filter(|list| !list.is_empty()) else {
        page.field(depth, "Volumes", "<none>");
        return;
    };
    page.head(depth, "Volumes");
    for volume in volumes {
        page.head(1, &format!("{}{}", " ".repeat(depth), shown(&volume["name"])));
        let source = |name: &str| Some(&volume[name]).filter(|s| s.is_object());
        if let Some(s) = source("emptyDir") {
            page.field(2, "Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
            page.field(2, "Medium", text_or(&s["medium"], ""));
            page.field(2, "SizeLimit", text_or(&s["sizeLimit"], "<unset>"));
        } else if let Some(s) = source("hostPath") {
            page.field(2, "Type", "HostPath (bare host directory volume)");
            page.field(2, "Path", shown(&s["path"]));
            page.field(2, "HostPathType", text_or(&s["type"], ""));
        } else if let Some(s) = source("configMap") {
            page.field(2, "Type", "ConfigMap (a volume populated by a ConfigMap)");
            page.field(2, "Name", shown(&s["name"]));
            page.field(2, "Optional", (s["optional"] == true).to_string());
        } else if let Some(s) = source("secret") {
            page.field(2, "Type", "Secret (a volume populated by a Secret)");
            page.field(2, "SecretName", shown(&s["secretName"]));
            page.field(2, "Optional", (s["optional"] == true).to_string());
        } else if source("downwardAPI").is_some() {
            page.field(2, "Type", "DownwardAPI (a volume populated by information about the pod)");
        } else if let Some(s) = source("projected") {
            page.field(2, "Type", "Projected (a volume that contains injected data from multiple sources)");
            for part in s["sources"].as_array().into_iter().flatten() {
                if part["serviceAccountToken"].is_object() {
                    page.field(
                        2,
                        "TokenExpirationSeconds",
                        text_number(&part["serviceAccountToken"]["expirationSeconds"]),
                    );
                } else if part["configMap"].is_object() {
                    page.field(2, "ConfigMapName", shown(&part["configMap"]["name"]));
                    page.field(2, "Optional", (part["configMap"]["optional"] == true).to_string());
                } else if part["secret"].is_object() {
                    page.field(2, "SecretName", shown(&part["secret"]["name"]));
                } else if part["downwardAPI"].is_object() {
                    page.field(2, "DownwardAPI", "true");
                }
            }
        } else {
            let kind = volume.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).find(|k| *k != "name");
            page.field(2, "Type", kind.unwrap_or("<unknown>"));
        }
    }
}

fn probe(probe: &Value) -> String {
    let how = if let Some(words) = probe["exec"]["command"].as_array() {
        format!("exec [{}]", words.iter().map(shown).collect::<Vec<_>>().join(" "))
    } else if probe["httpGet"].is_object() {
        let get = &probe["httpGet"];
        let scheme = text_or(&get["scheme"], "HTTP").to_lowercase();
        format!(
            "http-get {scheme}://{}:{}{}",
            text_or(&get["host"], ""),
            shown(&get["port"]),
            text_or(&get["path"], "/")
        )
    } else if probe["tcpSocket"].is_object() {
        format!("tcp-socket {}:{}", text_or(&probe["tcpSocket"]["host"], ""), shown(&probe["tcpSocket"]["port"]))
    } else {
        format!("grpc <pod>:{} {}", shown(&probe["grpc"]["port"]), text_or(&probe["grpc"]["service"], ""))
    };
    let number = |field: &str| probe[field].as_i64().unwrap_or(0);
    format!(
        "{how} delay={}s timeout={}s period={}s successThreshold={} failureThreshold={}",
        number("initialDelaySeconds"),
        number("timeoutSeconds"),
        number("periodSeconds"),
        number("successThreshold"),
        number("failureThreshold")
    )
}

pub fn toleration(toleration: &Value) -> String {
    let mut text = shown(&toleration["key"]);
    if let Some(value) = toleration["value"].as_str().filter(|v| !v.is_empty()) {
        text += &format!("={value}");
    }
    if let Some(effect) = toleration["effect"].as_str().filter(|e| !e.is_empty()) {
        text += &format!(":{effect}");
    }
    if toleration["operator"] == "Exists" {
        text += " op=Exists";
    }
    if let Some(seconds) = toleration["tolerationSeconds"].as_i64() {
        text += &format!(" for {seconds}s");
    }
    text.trim().to_string()
}

fn text_number(value: &Value) -> String {
    value.as_i64().unwrap_or(0).to_string()
}

/// `Tue, 24 Nov 2026 06:00:00 +0000`
pub fn time(value: &Value) -> String {
    let parsed = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    parsed.map_or("<unset>".into(), |t| t.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string())
}
