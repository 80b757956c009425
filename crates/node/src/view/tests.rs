#![allow(clippy::unwrap_used)]

use api::schema::{self, Of, Shape};
use serde_json::json;

use super::{ContainerStateRunning, Pod, Secret, Service};

/// A type, and of each field the name here, the name in JSON where that is another, and the type.
pub type Fields = (&'static str, &'static [(&'static str, &'static [&'static str], &'static str)]);

#[test]
fn every_field_is_one_of_the_schema_and_of_its_type() {
    let mut seen = 0;
    for (name, fields) in [
        super::pod::FIELDS,
        super::container::FIELDS,
        super::volume::FIELDS,
        super::status::FIELDS,
        super::object::FIELDS,
    ]
    .concat()
    {
        let package = if name == "ObjectMeta" { "apimachinery.pkg.apis.meta" } else { "api.core" };
        let of = schema::get(&format!("io.k8s.{package}.v1.{name}")).unwrap_or_else(|| panic!("{name} is no type"));
        // Ephemeral containers are containers with a target.
        let ephemeral = schema::get("io.k8s.api.core.v1.EphemeralContainer").unwrap();
        for (field, json, r#type) in fields {
            let json = json.first().map_or_else(|| camel(field), ToString::to_string);
            let of = of.field(&json).or_else(|| ephemeral.field(&json).filter(|_| name == "Container"));
            let of = of.unwrap_or_else(|| panic!("{name} has no {json}"));
            let optional = r#type.strip_prefix("Option<").and_then(|t| t.strip_suffix('>'));
            assert!(fits(&of.of, optional.unwrap_or(r#type)), "{name}.{json} is no {type}");
            assert!(optional.is_none() || !of.required, "{name}.{json} is required");
            seen += 1;
        }
    }
    assert!(seen > 300, "{seen}");
}

/// `pod_ip` is podIp: others are given their name.
fn camel(field: &str) -> String {
    let mut words = field.trim_end_matches('_').split('_');
    let first = words.next().unwrap().to_string();
    words.fold(first, |all, word| all + &word[..1].to_uppercase() + &word[1..])
}

fn fits(of: &Of, r#type: &str) -> bool {
    let inner = |open: &str| r#type.strip_prefix(open).and_then(|t| t.strip_suffix('>')).unwrap_or("");
    match of {
        Of::String => r#type == "String",
        Of::Bool => r#type == "bool",
        Of::Int32 => r#type == "i32",
        Of::Int64 => r#type == "i64",
        Of::Double => false,
        Of::Bytes => r#type == "ByteString",
        Of::List(item) => fits(item, inner("Vec<")),
        Of::Map(item) => fits(item, inner("BTreeMap<String, ")),
        Of::Type(link) => match link.get().shape {
            Shape::Quantity => r#type == "Quantity",
            Shape::Time => r#type == "Time",
            Shape::IntOrString => r#type == "IntOrString",
            _ => {
                r#type == link.get().short_name()
                    || (r#type, link.get().short_name()) == ("Container", "EphemeralContainer")
            }
        },
    }
}

#[test]
fn scalars_are_read_and_told_as_the_api_writes_them() {
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z", "unknown": 1},
       "spec": {"ephemeralContainers": [{"name": "e", "targetContainerName": "c"}], "containers": [{"name": "c",
       "ports": [{"hostIP": "::"}], "readinessProbe": {"httpGet": {"port": "web"}, "periodSeconds": 2}}]}}))
        .unwrap();
    let spec = pod.spec.unwrap();
    let time = pod.metadata.deletion_timestamp.unwrap();
    assert_eq!(spec.ephemeral_containers.unwrap()[0].target_container_name.as_deref(), Some("c"));
    assert_eq!(spec.containers[0].ports.as_ref().unwrap()[0].host_ip.as_deref(), Some("::"));
    let later = super::Time(time.0 + jiff::SignedDuration::from_millis(900));
    let told = serde_json::to_value(ContainerStateRunning { started_at: Some(later) }).unwrap();
    assert_eq!(told, json!({"startedAt": "2026-01-02T03:04:05Z"}));
    let secret: Secret = serde_json::from_value(json!({"data": {"a": "aGk="}})).unwrap();
    assert_eq!(secret.data.unwrap()["a"].0, b"hi");
    assert!(serde_json::from_value::<Secret>(json!({"data": {"a": "?"}})).is_err());
    let service: Service = serde_json::from_value(json!({"spec": {"clusterIP": "10.0.0.1"}})).unwrap();
    assert_eq!(service.spec.unwrap().cluster_ip.as_deref(), Some("10.0.0.1"));
}
