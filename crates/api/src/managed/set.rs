//! Sets of fields: which leaves and list items of an object somebody owns; FieldsV1 is their JSON.
//!
//! A set is a tree of path elements; each may be a member, have members below it, or both. Parents of
//! members are not members by themselves. Upstream: structured-merge-diff fieldpath (set.go,
//! serialize.go).

use serde_json::{Map, Value};

use super::element::{Element, Path};
use super::place::Place;

/// Sorted by element. Most levels have few: a vector is smaller and faster than a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(Vec<(Element, Node)>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: Set,
}

impl Set {
    /// Reads FieldsV1. What is no path element is dropped, as upstream does with kinds it does not know.
    pub fn from_fields(fields: &Value) -> Set {
        let Some(map) = fields.as_object() else { return Set::default() };
        let nodes = map.iter().filter_map(|(key, below)| {
            let element = Element::parse(key)?;
            let set = Set::from_fields(below);
            let member = below.get(".").is_some() || set.0.is_empty();
            Some((element, Node { member, below: set }))
        });
        let mut set = Set(nodes.collect());
        set.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        set
    }

    /// The members of all sets: one pass, however many and large they are.
    pub fn all(sets: impl IntoIterator<Item = Set>) -> Set {
        let mut sets = sets.into_iter().filter(|set| !set.0.is_empty());
        let Some(Set(mut nodes)) = sets.next() else { return Set::default() };
        let only = nodes.len();
        sets.for_each(|set| nodes.extend(set.0));
        if nodes.len() == only {
            return Set(nodes);
        }
        nodes.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut all: Vec<(Element, Node)> = Vec::with_capacity(nodes.len());
        let mut nodes = nodes.into_iter().peekable();
        while let Some((element, mut node)) = nodes.next() {
            let mut below = Vec::new();
            while let Some((_, same)) = nodes.next_if(|(next, _)| *next == element) {
                node.member |= same.member;
                below.push(same.below);
            }
            if !below.is_empty() {
                below.push(std::mem::take(&mut node.below));
                node.below = Set::all(below);
            }
            all.push((element, node));
        }
        Set(all)
    }

    /// Writes FieldsV1.
    pub fn to_fields(&self) -> Value {
        let mut map = Map::new();
        for (element, node) in self.0.iter().filter(|(_, node)| node.holds()) {
            let mut below = node.below.to_fields();
            if let (true, Some(map)) = (node.member, below.as_object_mut().filter(|map| !map.is_empty())) {
                map.insert(".".into(), Value::Object(Map::new()));
            }
            map.insert(element.key(), below);
        }
        Value::Object(map)
    }

    /// A set of field paths: `["metadata", "name"]`.
    pub fn of_paths(paths: &[&[&str]]) -> Set {
        let mut set = Set::default();
        for path in paths {
            let mut at = &mut set;
            for (depth, name) in path.iter().enumerate() {
                let node = at.node(Element::Field(name.to_string()));
                node.member |= depth + 1 == path.len();
                at = &mut node.below;
            }
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        !self.0.iter().any(|(_, node)| node.holds())
    }

    pub fn insert(&mut self, element: Element) {
        self.node(element).member = true;
    }

    /// Puts a set below an element; nothing if it is empty.
    pub fn put_below(&mut self, element: Element, below: Set) {
        if !below.is_empty() {
            self.node(element).below = below;
        }
    }

    pub fn has(&self, element: &Element) -> bool {
        self.find(element).is_some_and(|node| node.member)
    }

    pub fn below(&self, element: &Element) -> Option<&Set> {
        self.find(element).map(|node| &node.below).filter(|set| !set.is_empty())
    }

    /// Whether a member may be a member of the stored set as well: never wrongly no.
    pub fn meets(&self, fields: &Value) -> bool {
        self.0.iter().any(|(element, node)| match fields.get(element.key()) {
            Some(below) => node.member || node.below.meets(below),
            // Stored keys need not be canonical JSON.
            None => !matches!(element, Element::Field(_)) && fields.as_object().is_some_and(|map| !map.is_empty()),
        })
    }

    /// With the members of `other`.
    pub fn union(self, other: Set) -> Set {
        Set::all([self, other])
    }

    pub fn intersection(&self, other: &Set) -> Set {
        let nodes = self.0.iter().filter_map(|(element, node)| {
            let theirs = other.find(element)?;
            let both = Node { member: node.member && theirs.member, below: node.below.intersection(&theirs.below) };
            both.holds().then(|| (element.clone(), both))
        });
        Set(nodes.collect())
    }

    /// Without the members of `other`; what is below them stays.
    pub fn difference(mut self, other: &Set) -> Set {
        self.0.retain_mut(|(element, node)| {
            if let Some(theirs) = other.find(element) {
                node.member &= !theirs.member;
                node.below = std::mem::take(&mut node.below).difference(&theirs.below);
            }
            node.holds()
        });
        self
    }

    /// Without the members of `other` and all that is below them.
    pub fn without(mut self, other: &Set) -> Set {
        self.0.retain_mut(|(element, node)| {
            match other.find(element) {
                Some(theirs) if theirs.member => return false,
                Some(theirs) => node.below = std::mem::take(&mut node.below).without(&theirs.below),
                None => {}
            }
            node.holds()
        });
        self
    }

    /// With the schema's fields as members where anything below them is.
    pub fn with_named_fields(mut self, place: Place) -> Set {
        for (element, node) in &mut self.0 {
            node.member |= matches!(element, Element::Field(name) if place.names(name)) && !node.below.0.is_empty();
            node.below = std::mem::take(&mut node.below).with_named_fields(place.below(element));
        }
        self
    }

    /// Every member's path, members of a level before what is below them.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        self.collect(&Path::default(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &Path, paths: &mut Vec<Path>) {
        paths.extend(self.0.iter().filter(|(_, node)| node.member).map(|(element, _)| prefix.then(element)));
        for (element, node) in &self.0 {
            node.below.collect(&prefix.then(element), paths);
        }
    }

    fn find(&self, element: &Element) -> Option<&Node> {
        self.0.binary_search_by(|(e, _)| e.cmp(element)).ok().map(|at| &self.0[at].1)
    }

    /// The node of an element, made if it is not there. Elements mostly come in order.
    fn node(&mut self, element: Element) -> &mut Node {
        let at = match self.0.last() {
            Some((last, _)) if *last < element => self.0.len(),
            None => 0,
            _ => match self.0.binary_search_by(|(e, _)| e.cmp(&element)) {
                Ok(at) => return &mut self.0[at].1,
                Err(at) => at,
            },
        };
        self.0.insert(at, (element, Node::default()));
        &mut self.0[at].1
    }
}

impl Node {
    fn holds(&self) -> bool {
        self.member || !self.below.is_empty()
    }
}
