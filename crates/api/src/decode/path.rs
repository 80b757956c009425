//! Where the walk is: a chain on the stack, only printed when something is wrong.
//!
//! It is printed in two ways: as upstream's strict errors have it (`spec.containers[0].name`), and as
//! Go's type errors have it, by struct fields and with the innermost struct in front.

use crate::schema::{Field, Of, Type};

/// One step, and those before it.
#[derive(Clone, Copy)]
pub struct Path<'p> {
    pub parent: Option<&'p Path<'p>>,
    pub step: Step<'p>,
    /// Steps from the root: how many objects and lists are around what stands here.
    pub depth: usize,
}

#[derive(Clone, Copy)]
pub enum Step<'p> {
    Root,
    /// A field of a type.
    Field(&'static Type, &'static Field),
    Key(&'p str),
    Index(usize),
}

pub static ROOT: Path<'static> = Path { parent: None, step: Step::Root, depth: 0 };

impl<'p> Path<'p> {
    pub fn then(&'p self, step: Step<'p>) -> Path<'p> {
        Path { parent: Some(self), step, depth: self.depth + 1 }
    }

    /// `spec.containers[0].name`
    pub fn to_string_with(self, name: &str) -> String {
        let mut text = String::new();
        self.write(&mut text);
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(name);
        text
    }

    fn write(&self, text: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(text);
        }
        let key = match self.step {
            Step::Root => return,
            Step::Index(at) => {
                text.push_str(&format!("[{at}]"));
                return;
            }
            Step::Field(_, field) => field.name,
            Step::Key(key) => key,
        };
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(key);
    }

    /// Go's path of struct fields, and the innermost struct: `Container.spec.containers.image`.
    pub fn go(&self) -> Option<String> {
        let mut names = Vec::new();
        let mut owner = None;
        let mut at = Some(self);
        while let Some(path) = at {
            if let Step::Field(of, field) = path.step {
                owner = owner.or(Some(of));
                names.push(field.name);
                let at = names.len();
                // What kind it is stands in an embedded struct, too; of the object itself it is read before.
                if field.tag == 0 && path.parent.is_some_and(|parent| parent.parent.is_some()) {
                    names.push("TypeMeta");
                }
                let (mut holder, mut embed) = (of, field.embed);
                while let Some(index) = embed {
                    names.insert(at, holder.embeds[index].name);
                    holder = holder.embeds[index].target.get();
                    embed = holder.field(field.name).and_then(|f| f.embed);
                }
            }
            at = path.parent;
        }
        names.reverse();
        owner.map(|of| format!("{}.{}", of.short_name(), names.join(".")))
    }

    /// The Go type of the value here: the field's own name for it, then its items'.
    pub fn go_type(&self, of: &Of) -> String {
        let mut depth = 0;
        let mut at = Some(self);
        while let Some(path) = at {
            match path.step {
                Step::Field(_, field) if !field.go.is_empty() && !matches!(of, Of::Type(_)) => {
                    let mut go = field.go;
                    for _ in 0..depth {
                        go = go.strip_prefix("[]").or(go.split_once(']').map(|(_, rest)| rest)).unwrap_or("");
                    }
                    return if go.is_empty() { of.go_type() } else { go.to_string() };
                }
                Step::Field(..) | Step::Root => break,
                Step::Key(_) | Step::Index(_) => depth += 1,
            }
            at = path.parent;
        }
        of.go_type()
    }
}
