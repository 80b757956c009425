use serde_json::Value;

use super::super::hash;
use super::*;

/// What pkg/controller.ComputeHash says, without collisions and with seven, and the template (`conformance/dump`).
const TEMPLATES: &str = include_str!("templates.txt");

#[test]
fn hashes_are_upstreams() {
    let mut count = 0;
    for line in TEMPLATES.lines() {
        let mut words = line.splitn(3, ' ');
        let [one, seven, template] = [(); 3].map(|()| words.next().unwrap());
        let template: Value = serde_json::from_str(template).unwrap();
        let found = [hash::of(&template, None), hash::of(&template, Some(7))];
        assert_eq!(found, [one, seven], "{}", of(&template));
        count += 1;
    }
    assert!(count > 2);
}

#[test]
fn every_type_that_a_field_has_is_known() {
    const PLAIN: &[&str] = &["string", "bool", "int32", "int64"];
    const OWN: &[&str] = &["v1.Time", "resource.Quantity", "intstr.IntOrString"];
    for (name, shape) in TYPES.iter() {
        let classes: Vec<&str> = match shape {
            Shape::Like(class) => vec![class],
            Shape::Fields(fields) => fields.iter().map(|[_, class, _]| *class).collect(),
        };
        for class in classes {
            let class = class.trim_start_matches('*').trim_start_matches("[]");
            let class = class.split_once(']').map_or(class, |(_, item)| item);
            // Managed fields are nobody's in a template.
            let is_known =
                PLAIN.contains(&class) || OWN.contains(&class) || TYPES.contains_key(class) || class == "uint8";
            assert!(is_known, "{name}: {class}");
        }
    }
}
