//! Where the items of a list stand, by merge key: looked up along short lists, indexed in long ones.
//!
//! Lists of a patch and of an object may have tens of thousands of items each; pair by pair they keep
//! a worker busy for minutes. Most have a handful, for which an index costs more than it saves.

use std::collections::HashMap;

use serde_json::Value;

/// Items up to which a list is searched from its start.
const SHORT: usize = 16;

/// The first place of each item. An empty key: items are compared whole.
pub struct Places<'k> {
    key: &'k str,
    index: Option<HashMap<String, usize>>,
}

impl<'k> Places<'k> {
    pub fn of(items: &[Value], key: &'k str) -> Places<'k> {
        Places::with_room(items, key, 0)
    }

    /// Of a list that will grow by so many items.
    pub fn with_room(items: &[Value], key: &'k str, more: usize) -> Places<'k> {
        let room = items.len() + more;
        let mut places = Places { key, index: (room > SHORT).then(|| HashMap::with_capacity(room)) };
        for (at, item) in items.iter().enumerate() {
            places.add(item, at);
        }
        places
    }

    pub fn add(&mut self, item: &Value, at: usize) {
        if let Some(index) = &mut self.index {
            index.entry(name(item, self.key)).or_insert(at);
        }
    }

    /// `items` is the list that the places are of.
    pub fn find(&self, items: &[Value], item: &Value) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&name(item, self.key)).copied(),
            None => items.iter().position(|other| same(other, item, self.key)),
        }
    }
}

/// Whether two items are the same by a key; an empty key: whether they are equal.
pub fn same(left: &Value, right: &Value, key: &str) -> bool {
    if key.is_empty() { left == right } else { left.get(key) == right.get(key) }
}

/// Equal exactly for what `same` calls so: the JSON of what is compared; absent is no JSON.
fn name(item: &Value, key: &str) -> String {
    match key {
        "" => item.to_string(),
        key => item.get(key).map(Value::to_string).unwrap_or_default(),
    }
}
