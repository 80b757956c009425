use super::*;

/// `verb group/resource/name`, with `*` for any: what a caller was granted.
fn decide(grants: &'static [&'static str]) -> impl Fn(&Identity, &Attributes) -> Decision {
    move |_, asked| {
        let group = if asked.group.is_empty() { "core" } else { asked.group.split('.').next().unwrap_or("") };
        let namespace = if asked.namespace.is_empty() { String::new() } else { format!("{}:", asked.namespace) };
        let words = format!("{} {group}/{}/{namespace}{}", asked.verb, asked.resource_path(), asked.name);
        let granted = grants
            .iter()
            .any(|grant| *grant == words || grant.strip_suffix('*').is_some_and(|start| words.starts_with(start)));
        if granted { Decision::Allow(None) } else { Decision::Deny(String::new()) }
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(http::HeaderName::from_static(name), value.parse().unwrap());
    }
    headers
}

fn listing() -> Attributes {
    Attributes { verb: "list".into(), version: "v1".into(), resource: "pods".into(), ..Attributes::default() }
}

fn ask(grants: &'static [&'static str], pairs: &[(&'static str, &str)]) -> Result<Option<Identity>, Status> {
    let caller = Identity::authenticated("caller", "", vec![]);
    impersonated(&caller, &headers(pairs), listing, &decide(grants))
}

#[test]
fn who_may_be_one_user_gets_no_group_uid_or_extra_with_it() {
    const BOB: &[&str] = &["impersonate core/users/bob"];
    let bob = ask(BOB, &[("impersonate-user", "bob")]).unwrap().unwrap();
    assert_eq!((bob.name(), bob.groups()), ("bob", &["system:authenticated".to_string()][..]));
    for beside in [
        ("impersonate-group", "system:masters"),
        ("impersonate-group", "system:authenticated"),
        ("impersonate-group", ""),
        ("impersonate-uid", "1"),
        ("impersonate-extra-scopes", "all"),
    ] {
        let refused = ask(BOB, &[("impersonate-user", "bob"), beside]).unwrap_err();
        assert_eq!(refused.code, 403, "{beside:?}");
    }
    assert_eq!(ask(BOB, &[("impersonate-user", "bobby")]).unwrap_err().code, 403);
    // The second of two groups counts as much as the first.
    const A: &[&str] = &["impersonate core/users/bob", "impersonate core/groups/a"];
    let two = [("impersonate-user", "bob"), ("impersonate-group", "a"), ("impersonate-group", "system:masters")];
    assert_eq!(ask(A, &two).unwrap_err().code, 403);
    let one = ask(A, &two[..2]).unwrap().unwrap();
    assert_eq!(one.groups(), ["a", "system:authenticated"]);
}

#[test]
fn each_attribute_has_a_grant_of_its_own() {
    const ALL: &[&str] = &[
        "impersonate core/users/bob",
        "impersonate core/groups/g",
        "impersonate authentication/uids/7",
        "impersonate authentication/userextras/scopes/read",
    ];
    let pairs = [
        ("impersonate-user", "bob"),
        ("impersonate-group", "g"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-scopes", "read"),
    ];
    let bob = ask(ALL, &pairs).unwrap().unwrap();
    assert_eq!((bob.uid(), &bob.extra()["scopes"][..]), ("7", &["read".to_string()][..]));
    for left_out in 0..ALL.len() {
        let caller = Identity::authenticated("caller", "", vec![]);
        let granted = decide(ALL);
        let but = |who: &Identity, asked: &Attributes| {
            let words = ["users", "groups", "uids", "userextras"][left_out];
            if asked.resource == words { Decision::Deny(String::new()) } else { granted(who, asked) }
        };
        assert_eq!(impersonated(&caller, &headers(&pairs), listing, &but).unwrap_err().code, 403, "{left_out}");
    }
    let other = [("impersonate-user", "bob"), ("impersonate-extra-scopes", "write")];
    assert_eq!(ask(ALL, &other).unwrap_err().code, 403);
    let key = [("impersonate-user", "bob"), ("impersonate-extra-other", "read")];
    assert_eq!(ask(ALL, &key).unwrap_err().code, 403);
}

#[test]
fn attributes_without_a_user_are_refused_and_not_ignored() {
    for (pair, what) in [
        (
            ("impersonate-group", "system:masters"),
            r#"UID:"", Groups:[]string{"system:masters"}, Extra:map[string][]string(nil)"#,
        ),
        (("impersonate-uid", "1"), r#"UID:"1", Groups:[]string(nil), Extra:map[string][]string(nil)"#),
        (("impersonate-extra-a", "b"), r#"UID:"", Groups:[]string(nil), Extra:map[string][]string{"a":[]string{"b"}}"#),
    ] {
        let refused = ask(&["impersonate *"], &[pair]).unwrap_err();
        let text = format!("requested &user.DefaultInfo{{Name:\"\", {what}}} without impersonating a user name");
        assert_eq!((refused.code, refused.message), (400, text));
        assert_eq!(ask(&["impersonate *"], &[pair, ("impersonate-user", "")]).unwrap_err().code, 400);
    }
    assert_eq!(ask(&[], &[("impersonate-user", "")]), Ok(None));
    assert_eq!(ask(&[], &[("accept", "x")]), Ok(None));
    let mut odd = headers(&[("impersonate-user", "bob")]);
    odd.append("impersonate-group", http::HeaderValue::from_bytes(b"\xff").unwrap());
    let caller = Identity::authenticated("caller", "", vec![]);
    assert_eq!(impersonated(&caller, &odd, listing, &decide(&["impersonate *"])).unwrap_err().code, 400);
}

#[test]
fn an_account_needs_the_grant_for_accounts_and_is_in_its_groups() {
    let pair = [("impersonate-user", "system:serviceaccount:ns:sa")];
    assert_eq!(ask(&["impersonate core/users/*"], &pair).unwrap_err().code, 403);
    let account = ask(&["impersonate core/serviceaccounts/ns:sa"], &pair).unwrap().unwrap();
    let groups = ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"];
    assert_eq!(account.groups(), groups);
    // What has not the form of an account's name is a user.
    for user in ["system:serviceaccount:ns:sa:x", "system:serviceaccount:NS:sa", "system:serviceaccount:ns:"] {
        assert_eq!(ask(&["impersonate core/serviceaccounts/*"], &[("impersonate-user", user)]).unwrap_err().code, 403);
        let user = ask(&["impersonate core/users/*"], &[("impersonate-user", user)]).unwrap().unwrap();
        assert_eq!(user.groups(), ["system:authenticated"]);
    }
}

#[test]
fn everybody_is_authenticated_but_the_anonymous() {
    const ANY: &[&str] = &["impersonate *"];
    let groups = |pairs: &[(&'static str, &str)]| ask(ANY, pairs).unwrap().unwrap().groups().to_vec();
    let anonymous = ("impersonate-user", "system:anonymous");
    assert_eq!(groups(&[anonymous]), ["system:unauthenticated"]);
    assert_eq!(groups(&[anonymous, ("impersonate-group", "g")]), ["g", "system:unauthenticated"]);
    let nobody = [("impersonate-user", "bob"), ("impersonate-group", "system:unauthenticated")];
    assert_eq!(groups(&nobody), ["system:unauthenticated"]);
}

#[test]
fn constrained_grants_need_both_halves_and_never_reach_masters() {
    const BOTH: &[&str] = &[
        "impersonate-on:user-info:list core/pods/",
        "impersonate:user-info authentication/users/bob",
        "impersonate:user-info authentication/groups/*",
    ];
    let pair = [("impersonate-user", "bob")];
    assert!(ask(BOTH, &pair).unwrap().is_some());
    assert_eq!(ask(&BOTH[..1], &pair).unwrap_err().code, 403);
    let refused = ask(&BOTH[1..], &pair).unwrap_err();
    assert_eq!(
        refused.message,
        "pods is forbidden: User \"caller\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" \
         at the cluster scope"
    );
    let masters = [("impersonate-user", "bob"), ("impersonate-group", "system:masters")];
    let refused = ask(BOTH, &masters).unwrap_err();
    assert!(refused.message.ends_with("impersonating the system:masters group is not allowed"), "{refused}");
    // Nodes and accounts are no part of user-info.
    for user in ["system:node:n1", "system:serviceaccount:ns:sa"] {
        const USERS: &[&str] = &["impersonate-on:user-info:list core/pods/", "impersonate:user-info *"];
        assert_eq!(ask(USERS, &[("impersonate-user", user)]).unwrap_err().code, 403);
    }
}

#[test]
fn an_account_is_the_node_that_it_stands_on_and_no_other() {
    const NODE: &[&str] =
        &["impersonate-on:associated-node:list core/pods/", "impersonate:associated-node authentication/nodes/*"];
    let on = |node: &str| {
        let extra = BTreeMap::from([(NODE_NAME.to_string(), vec![node.to_string()])]);
        Identity::authenticated("system:serviceaccount:ns:sa", "", vec![]).with_extra(extra)
    };
    let wanted = headers(&[("impersonate-user", "system:node:n1")]);
    let node = impersonated(&on("n1"), &wanted, listing, &decide(NODE)).unwrap().unwrap();
    assert_eq!(
        (node.node(), node.groups()),
        (Some("n1"), &["system:nodes", "system:authenticated"].map(String::from)[..])
    );
    assert_eq!(impersonated(&on("n2"), &wanted, listing, &decide(NODE)).unwrap_err().code, 403);
    let user = Identity::authenticated("x", "", vec![]).with_extra(on("n1").extra().clone());
    assert_eq!(impersonated(&user, &wanted, listing, &decide(NODE)).unwrap_err().code, 403);
}

#[test]
fn what_says_who_somebody_is_goes_no_further() {
    let mut all = headers(&[
        ("authorization", "Bearer x"),
        ("impersonate-user", "bob"),
        ("impersonate-extra-a", "b"),
        ("x-remote-user", "root"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-a", "b"),
        ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.eA, v5.channel.k8s.io"),
        ("sec-websocket-protocol", "v4.channel.k8s.io"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "192.0.2.1"),
    ]);
    forget(&mut all);
    let left: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    assert_eq!(all["sec-websocket-protocol"], "v5.channel.k8s.io,v4.channel.k8s.io");
}
