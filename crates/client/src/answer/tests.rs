//! Answers from bytes: pages, watch lines however they are cut, errors of every kind.

use api::{Reason, Status, WatchEvent};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;

use super::*;
use crate::script::{Script, ok, pod, pods, refused};
use crate::{DeleteOptions, ListOptions, PatchKind, WatchOptions};

fn kind() -> &'static api::Resource {
    &api::resource::PODS
}

#[tokio::test]
async fn requests_name_their_path_query_and_content() {
    let (client, asked) = Script::client(|_| ok(pod("web", 7)));
    let body = json!({"x": 1});
    client.get(kind(), "default", "web").await.unwrap();
    client.create(kind(), "default", &body).await.unwrap();
    client.update_sub(kind(), "default", "web", "status", &body).await.unwrap();
    client.create_sub(kind(), "default", "web", "binding", &body).await.unwrap();
    client.patch(kind(), "default", "web", "status", PatchKind::Strategic, &body).await.unwrap();
    let apply = PatchKind::Apply { manager: "a b".into(), force: true };
    client.patch(kind(), "default", "web", "", apply, &body).await.unwrap();
    let options = DeleteOptions { grace_period_seconds: Some(0), uid: Some("u".into()), ..Default::default() };
    client.delete(kind(), "default", "web", &options).await.unwrap();
    let lines: Vec<String> =
        asked.lock().unwrap().iter().map(|a| format!("{} {}", a.line, a.content).trim().to_string()).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/namespaces/default/pods/web",
            "POST /api/v1/namespaces/default/pods application/json",
            "PUT /api/v1/namespaces/default/pods/web/status application/json",
            "POST /api/v1/namespaces/default/pods/web/binding application/json",
            "PATCH /api/v1/namespaces/default/pods/web/status application/strategic-merge-patch+json",
            "PATCH /api/v1/namespaces/default/pods/web?fieldManager=a%20b&force=true application/apply-patch+yaml",
            "DELETE /api/v1/namespaces/default/pods/web application/json",
        ]
    );
    let sent = asked.lock().unwrap().last().unwrap().body.clone();
    let expected =
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}});
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_list_is_its_objects_revision_and_token() {
    let (client, asked) = Script::client(|_| pods(&[pod("a", 3), pod("b", 4)], 9));
    let options = ListOptions { label_selector: "app=web,tier!=db".into(), limit: 2, ..Default::default() };
    let list = client.list(kind(), "", &options).await.unwrap();
    assert_eq!((list.objects.len(), list.revision, list.continue_token.as_str()), (2, 9, ""));
    assert_eq!(list.objects[1].meta().name, "b");
    assert_eq!(asked.lock().unwrap()[0].line, "GET /api/v1/pods?labelSelector=app%3Dweb%2Ctier%21%3Ddb&limit=2");
}

#[tokio::test]
async fn a_watch_survives_any_cut_of_its_bytes() {
    let lines = [
        json!({"type": "ADDED", "object": pod("a", 3)}),
        json!({"type": "MODIFIED", "object": pod("a", 4)}),
        json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "8",
            "annotations": {"k8s.io/initial-events-end": "true"}}}}),
        json!({"type": "DELETED", "object": pod("a", 9)}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    for size in [1, 7, 64, text.len()] {
        let text = text.clone();
        let (client, _) = Script::client(move |_| {
            let chunks: Vec<_> = text.as_bytes().chunks(size).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
            let body = Body::Stream(Box::pin(futures::stream::iter(chunks)));
            Ok(Reply { status: http::StatusCode::OK, headers: Default::default(), body })
        });
        let watch = client.watch(kind(), "", &WatchOptions::default()).await.unwrap();
        let seen: Vec<_> = watch.collect().await;
        let [
            WatchEvent::Added(a),
            WatchEvent::Modified(b),
            WatchEvent::Bookmark { revision: 8, initial_events_end: true },
            WatchEvent::Deleted(c),
        ] = &seen[..]
        else {
            panic!("{seen:?}")
        };
        assert_eq!((a.revision(), b.revision(), c.revision()), (3, 4, 9));
    }
}

#[tokio::test]
async fn an_error_event_ends_a_watch() {
    let gone = Status::new(Reason::Expired, "too old resource version: 1 (5)");
    let text = format!("{}\nmore\n", json!({"type": "ERROR", "object": gone.to_value()}));
    let (client, _) = Script::client(move |_| {
        let body = Body::Bytes(text.clone().into());
        Ok(Reply { status: http::StatusCode::OK, headers: Default::default(), body })
    });
    let seen: Vec<_> = client.watch(kind(), "", &WatchOptions::default()).await.unwrap().collect().await;
    let [WatchEvent::Error(status)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((status.reason, status.code), (Reason::Expired, 410));
}

#[tokio::test]
async fn a_refusal_keeps_every_word_of_the_server() {
    let mut status = Status::not_found("", "pods", "web");
    status.uid = "u1".into();
    status.retry_after_seconds = Some(3);
    status.causes.push(Cause { reason: "R".into(), message: "m".into(), field: "spec.a".into() });
    let sent = status.clone();
    let (client, _) = Script::client(move |_| refused(sent.clone()));
    assert_eq!(client.get(kind(), "default", "web").await.unwrap_err(), status);
}

#[tokio::test]
async fn a_refusal_without_a_status_is_understood_by_its_code() {
    for (code, text, reason, message) in [
        (502, "<html>bad gateway</html>", Reason::InternalError, "<html>bad gateway</html>"),
        (401, "", Reason::Unauthorized, "the server answered with code 401"),
        (418, "teapot", Reason::BadRequest, "teapot"),
    ] {
        let (client, _) = Script::client(move |_| {
            let status = http::StatusCode::from_u16(code).unwrap();
            Ok(Reply { status, headers: Default::default(), body: Body::Bytes(text.into()) })
        });
        let status = client.get(kind(), "default", "web").await.unwrap_err();
        assert_eq!((status.reason, status.code, status.message.as_str()), (reason, code, message));
    }
}

#[test]
fn each_warning_is_told_once_and_unquoted() {
    let mut headers = http::HeaderMap::new();
    for value in [r#"299 - "unknown field \"spec.foo\"""#, r#"299 - "é""#, r#"299 - "é""#, r#"199 - "other""#, "299 -"]
    {
        headers.append(http::header::WARNING, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    assert_eq!(warnings(&headers), [r#"unknown field "spec.foo""#, "é"]);
}
