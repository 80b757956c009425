use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use http::{Method, Request};
use serde_json::json;

use super::*;
use crate::tests::{Cluster, cluster};

type Does = dyn Fn(&Ask<'_>, &mut Value, &mut Findings) -> Result<(), Status> + Send + Sync;

/// A step that writes down what it is asked, lets others go first, and does what a test wants.
struct Webhook {
    name: &'static str,
    reinvoked: bool,
    mutates: Box<Does>,
    validates: Box<Does>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Webhook {
    fn new(name: &'static str, asked: &Arc<Mutex<Vec<String>>>) -> Webhook {
        let nothing = || Box::new(|_: &Ask<'_>, _: &mut Value, _: &mut Findings| Ok(()));
        Webhook { name, reinvoked: false, mutates: nothing(), validates: nothing(), asked: asked.clone() }
    }

    fn tell(&self, verb: &str, ask: &Ask<'_>, object: &Value) {
        let (resource, subresource) = (&ask.kind().plural, ask.subresource);
        let dry = if ask.dry_run { " dry" } else { "" };
        let old = if ask.old.is_some() { " old" } else { "" };
        let new = if object.is_null() { "" } else { " new" };
        self.asked.lock().unwrap().push(format!(
            "{} {verb} {:?} {resource}/{subresource} {} by {}{old}{new}{dry}",
            self.name,
            ask.operation,
            ask.name_of(object),
            ask.identity.name()
        ));
    }
}

impl Outside for Webhook {
    fn name(&self) -> &str {
        self.name
    }

    fn concerns(&self, ask: &Ask<'_>, _: &Value) -> bool {
        !ask.is("nodes")
    }

    fn reinvoked(&self) -> bool {
        self.reinvoked
    }

    fn mutate<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        object: &'a mut Value,
        findings: &'a mut Findings,
    ) -> BoxFuture<'a, Result<(), Status>> {
        async move {
            tokio::task::yield_now().await;
            self.tell("mutate", ask, object);
            (self.mutates)(ask, object, findings)
        }
        .boxed()
    }

    fn validate<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        object: &'a Value,
        findings: &'a mut Findings,
    ) -> BoxFuture<'a, Result<(), Status>> {
        async move {
            tokio::task::yield_now().await;
            self.tell("validate", ask, object);
            (self.validates)(ask, &mut object.clone(), findings)
        }
        .boxed()
    }
}

async fn with(webhooks: impl FnOnce(&Arc<Mutex<Vec<String>>>) -> Vec<Webhook>) -> (Cluster, Arc<Mutex<Vec<String>>>) {
    let c = cluster().await;
    c.account("default").await;
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let webhooks = webhooks(&asked).into_iter().map(|webhook| Arc::new(webhook) as Arc<dyn Outside>);
    c.server.0.outside.store(Arc::new(webhooks.collect()));
    (c, asked)
}

fn told(asked: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut *asked.lock().unwrap())
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

/// Without the second round it would keep the number of no class, and be refused or wrong.
#[tokio::test]
async fn what_comes_from_outside_is_completed_as_if_the_client_had_sent_it() {
    let (c, asked) = with(|asked| {
        let mutates = Box::new(|_: &Ask<'_>, object: &mut Value, _: &mut Findings| {
            let spec = object["spec"].as_object_mut().unwrap();
            if spec["containers"].as_array().unwrap().len() == 1 {
                let sidecar = json!({"name": "s", "image": "i", "resources": {"requests": {"cpu": "1"}}, "typo": 1});
                spec["containers"].as_array_mut().unwrap().push(sidecar);
                spec.insert("priorityClassName".into(), json!("system-node-critical"));
                spec.remove("priority");
            }
            Ok(())
        });
        vec![Webhook { mutates, ..Webhook::new("inject", asked) }]
    })
    .await;
    let (code, made) = c.post(PODS, pod("p")).await;
    assert_eq!(code, 201, "{made}");
    let sidecar = &made["spec"]["containers"][1];
    assert_eq!((&sidecar["imagePullPolicy"], sidecar.get("typo")), (&json!("Always"), None), "{made}");
    assert_eq!(sidecar["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(made["spec"]["priority"], 2_000_001_000);
    assert_eq!(made["status"]["qosClass"], "Burstable");
    let asked = told(&asked);
    let by = "Create pods/ p by kubernetes-admin new";
    assert_eq!(asked, [format!("inject mutate {by}"), format!("inject validate {by}")], "and not asked again");
}

#[tokio::test]
async fn who_asks_for_it_sees_what_was_changed_after_it_once() {
    let label = |key: &'static str| -> Box<Does> {
        Box::new(move |_, object, _| {
            object["metadata"]["labels"][key] = json!("yes");
            Ok(())
        })
    };
    let (c, asked) = with(|asked| {
        vec![
            Webhook { reinvoked: true, ..Webhook::new("first", asked) },
            Webhook { reinvoked: true, mutates: label("b"), ..Webhook::new("second", asked) },
            Webhook::new("third", asked),
        ]
    })
    .await;
    let mutated = |asked: &Mutex<Vec<String>>| -> Vec<String> {
        let words = |line: String| line.split(' ').take(2).map(String::from).collect::<Vec<_>>().join(" ");
        told(asked).into_iter().map(words).filter(|line| line.ends_with("mutate")).collect()
    };
    let map = |labels: Value| json!({"metadata": {"name": "m", "labels": labels}});
    assert_eq!(c.post(MAPS, map(json!({"a": "1"}))).await.0, 201);
    assert_eq!(mutated(&asked), ["first mutate", "second mutate", "third mutate", "first mutate"]);
    // Nothing is changed: nobody is asked again.
    let (code, same) = c.put(&format!("{MAPS}/m"), map(json!({"a": "1", "b": "yes"}))).await;
    assert_eq!((code, &same["metadata"]["labels"]), (200, &json!({"a": "1", "b": "yes"})));
    assert_eq!(mutated(&asked), ["first mutate", "second mutate", "third mutate"]);
}

#[tokio::test]
async fn every_way_to_write_is_judged_and_nothing_refused_is_written() {
    let (c, asked) = with(|_| Vec::new()).await;
    let admin = c.admin.clone();
    c.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    c.pod("p").await;
    let refuses = Box::new(|ask: &Ask<'_>, object: &mut Value, _: &mut Findings| Err(ask.forbidden(object, "no")));
    let judge: Vec<Arc<dyn Outside>> = vec![Arc::new(Webhook { validates: refuses, ..Webhook::new("j", &asked) })];
    c.server.0.outside.store(Arc::new(judge));
    let revision = c.server.revision();
    let (json, merge, apply) = ("application/json", "application/merge-patch+json", "application/apply-patch+yaml");
    let labelled = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}});
    let (_, mut full) = c.get(&format!("{PODS}/p")).await;
    full["metadata"]["labels"] = json!({"a": "b"});
    let binding = json!({"metadata": {"name": "p"}, "target": {"name": "n1"}});
    let pod_of = |name: &str| pod(name).to_string();
    let one = |rest: &str| format!("{PODS}/p{rest}");
    for (method, path, media, body, said) in [
        (Method::POST, PODS.to_string(), json, pod_of("q"), "Create pods/ q by kubernetes-admin new"),
        (Method::POST, format!("{PODS}?dryRun=All"), json, pod_of("q"), "Create pods/ q by kubernetes-admin new dry"),
        (Method::PUT, one(""), json, full.to_string(), "Update pods/ p by kubernetes-admin old new"),
        (Method::PUT, one("/status"), json, full.to_string(), "Update pods/status p by kubernetes-admin old new"),
        (Method::PATCH, one(""), merge, labelled.to_string(), "Update pods/ p by kubernetes-admin old new"),
        (
            Method::PATCH,
            one("?fieldManager=f&dryRun=All"),
            apply,
            labelled.to_string(),
            "Update pods/ p by kubernetes-admin old new dry",
        ),
        (Method::DELETE, one(""), json, String::new(), "Delete pods/ p by kubernetes-admin old"),
        (Method::DELETE, PODS.to_string(), json, String::new(), "Delete pods/ p by kubernetes-admin old"),
        (
            Method::POST,
            one("/eviction"),
            json,
            json!({"metadata": {"name": "p"}}).to_string(),
            "Create pods/eviction p by kubernetes-admin new",
        ),
        (Method::POST, one("/binding"), json, binding.to_string(), "Create pods/binding p by kubernetes-admin new"),
        (
            Method::POST,
            "/api/v1/namespaces/default/serviceaccounts/default/token".into(),
            json,
            "{}".into(),
            "Create serviceaccounts/token default by kubernetes-admin new",
        ),
        (Method::POST, one("/exec?command=ls"), json, String::new(), "Connect pods/exec p by kubernetes-admin new"),
        (
            Method::GET,
            one("/portforward?ports=1"),
            json,
            String::new(),
            "Connect pods/portforward p by kubernetes-admin new",
        ),
        (Method::GET, one("/proxy/x"), json, String::new(), "Connect pods/proxy p by kubernetes-admin new"),
    ] {
        let (code, status) = crate::tests::read(c.raw(&admin, method.clone(), &path, media, body).await);
        assert_eq!(code, 403, "{method} {path}: {status}");
        assert!(status["message"].as_str().unwrap().ends_with("is forbidden: no"), "{status}");
        assert_eq!(told(&asked), [format!("j mutate {said}"), format!("j validate {said}")], "{method} {path}");
    }
    assert_eq!(c.server.revision(), revision, "nothing was written");
    assert_eq!(c.get(&one("")).await.0, 200, "reading is not admitted");
    assert_eq!(told(&asked), [""; 0]);
}

/// An eviction is admitted as one; that it deletes is its own matter (registry/core/pod/storage/eviction.go).
#[tokio::test]
async fn an_eviction_is_not_asked_about_as_a_deletion() {
    let (c, asked) = with(|asked| vec![Webhook::new("j", asked)]).await;
    c.pod("p").await;
    told(&asked);
    let (code, status) = c.post(&format!("{PODS}/p/eviction"), json!({"metadata": {"name": "p"}})).await;
    assert_eq!(code, 201, "{status}");
    let said = "Create pods/eviction p by kubernetes-admin new";
    assert_eq!(told(&asked), [format!("j mutate {said}"), format!("j validate {said}")]);
}

#[tokio::test]
async fn the_options_of_a_connection_are_its_object() {
    let seen = Arc::<Mutex<Value>>::default();
    let sees = seen.clone();
    let (c, _) = with(|asked| {
        let mutates = Box::new(move |ask: &Ask<'_>, object: &mut Value, _: &mut Findings| {
            if ask.operation == Operation::Connect {
                *sees.lock().unwrap() = object.clone();
            }
            Ok(())
        });
        vec![Webhook { mutates, ..Webhook::new("j", asked) }]
    })
    .await;
    c.pod("p").await;
    c.post(&format!("{PODS}/p/exec?command=ls&command=-l&stdout=true&container=c"), Value::Null).await;
    let options = json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["ls", "-l"], "stdout": true,
        "container": "c"});
    assert_eq!(*seen.lock().unwrap(), options);
    c.get(&format!("{PODS}/p/portforward?ports=80")).await;
    assert_eq!(*seen.lock().unwrap(), json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80]}));
    c.get(&format!("{PODS}/p/proxy/a/b")).await;
    assert_eq!(*seen.lock().unwrap(), json!({"kind": "PodProxyOptions", "apiVersion": "v1", "path": "/a/b"}));
}

#[tokio::test]
async fn a_warning_from_outside_reaches_the_client_once() {
    let (c, _) = with(|asked| {
        let warns = || -> Box<Does> {
            Box::new(|_, _, findings| {
                findings.warn("mind \"this\"".into());
                Ok(())
            })
        };
        vec![Webhook { mutates: warns(), validates: warns(), ..Webhook::new("w", asked) }]
    })
    .await;
    let map = json!({"metadata": {"name": "m"}}).to_string();
    for (method, path, body) in
        [(Method::POST, MAPS, map.clone()), (Method::DELETE, &*format!("{MAPS}/m"), String::new())]
    {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let answer = c.server.handle(&c.admin, request.body(body.into()).unwrap()).await;
        let warnings: Vec<_> = answer.headers.get_all("warning").iter().collect();
        assert_eq!(warnings, ["299 - \"mind \\\"this\\\"\""]);
    }
}

/// Also of a write that names a revision: the object it changes is as it was.
#[tokio::test]
async fn a_claim_that_fails_decides_everything_again() {
    let times = Arc::new(AtomicUsize::new(0));
    let (counted, c) = (times.clone(), cluster().await);
    c.post(MAPS, json!({"metadata": {"name": "relied-on"}})).await;
    let (_, map) = c.post(MAPS, json!({"metadata": {"name": "m"}, "data": {"a": "1"}})).await;
    let (server, admin) = (c.server.clone(), c.admin.clone());
    struct Relies(Arc<AtomicUsize>, crate::Server, crate::Identity);
    impl Outside for Relies {
        fn name(&self) -> &str {
            "relies"
        }
        fn concerns(&self, _: &Ask<'_>, object: &Value) -> bool {
            object["metadata"]["name"] == "m"
        }
        fn reinvoked(&self) -> bool {
            false
        }
        fn mutate<'a>(
            &'a self,
            _: &'a Ask<'a>,
            _: &'a mut Value,
            _: &'a mut Findings,
        ) -> BoxFuture<'a, Result<(), Status>> {
            std::future::ready(Ok(())).boxed()
        }
        fn validate<'a>(
            &'a self,
            ask: &'a Ask<'a>,
            _: &'a Value,
            findings: &'a mut Findings,
        ) -> BoxFuture<'a, Result<(), Status>> {
            async move {
                findings.claim(&ask.snapshot().entry("configmaps", "default", "relied-on").unwrap());
                // Somebody changes it before this is written, the first time.
                if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                    let patch = json!({"data": {"n": "1"}}).to_string();
                    let request = Request::builder().method(Method::PATCH).uri(format!("{MAPS}/relied-on"));
                    let request = request.header("content-type", "application/merge-patch+json");
                    self.1.handle(&self.2, request.body(patch.into()).unwrap()).await;
                }
                Ok(())
            }
            .boxed()
        }
    }
    let relies: Vec<Arc<dyn Outside>> = vec![Arc::new(Relies(counted, server, admin))];
    c.server.0.outside.store(Arc::new(relies));
    let mut next = map.clone();
    next["data"]["a"] = json!("2");
    let (code, put) = c.put(&format!("{MAPS}/m"), next.clone()).await;
    assert_eq!((code, &put["data"]["a"], times.swap(0, Ordering::SeqCst)), (200, &json!("2"), 2), "{put}");
    // Its revision is no more: that is said, and nothing else.
    let (code, status) = c.put(&format!("{MAPS}/m"), next).await;
    assert_eq!((code, times.swap(0, Ordering::SeqCst)), (409, 0), "{status}");
    let (code, status) = c.delete(&format!("{MAPS}/m"), Value::Null).await;
    assert_eq!((code, times.load(Ordering::SeqCst)), (200, 0), "{status}");
}

#[tokio::test]
async fn nobody_outside_makes_it_another_object() {
    let (c, _) = with(|asked| {
        let mutates = Box::new(|ask: &Ask<'_>, object: &mut Value, _: &mut Findings| {
            match ask.operation {
                Operation::Create => object["metadata"]["namespace"] = json!("kube-system"),
                _ => *object = json!({}),
            }
            Ok(())
        });
        vec![Webhook { mutates, ..Webhook::new("evil", asked) }]
    })
    .await;
    let (code, status) = c.post(MAPS, json!({"metadata": {"name": "m"}})).await;
    let why = "Internal error occurred: admission webhook \"evil\" attempted to make it another object";
    assert_eq!((code, status["message"].as_str().unwrap()), (500, why));
    let (code, status) = c.delete("/api/v1/namespaces/default/serviceaccounts/default", Value::Null).await;
    let why = "Internal error occurred: admission webhook \"evil\" attempted to modify the object, which is not supported for this operation";
    assert_eq!((code, status["message"].as_str().unwrap()), (500, why));
}
