//! A YAML file as a flat list of keys with their values as text and the line
//! of each.
//!
//! Opens nothing, knows no key, and never panics on any input: depth, nodes,
//! and aliases are bounded.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{NonFiniteFloatPolicy, Spanned};

use super::error::ConfigError;

/// The most keys and values in a file, with all that aliases repeat.
const MOST_NODES: usize = 20_000;

/// The deepest key: `projects.NAME.memory.priority` is four.
const MOST_DEPTH: usize = 16;

/// The most aliases in a file.
const MOST_ALIASES: usize = 1_000;

/// A key, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// From the top.
    pub(super) path: Vec<String>,
    /// The value as text; `None` where nothing is said.
    pub(super) text: Option<String>,
    /// Where the value stands, from 1.
    pub(super) line: u64,
}

/// Parses the text of the file at `path`.
///
/// # Errors
/// [`ConfigError`] with the line, for what is no UTF-8, no YAML, a list, or no
/// mapping at the top.
pub(super) fn parse(path: &Arc<Path>, bytes: &[u8]) -> Result<Vec<Leaf>, ConfigError> {
    let text = std::str::from_utf8(bytes).map_err(|source| ConfigError::NotUtf8 {
        path: path.to_path_buf(),
        line: line_of(bytes, source.valid_up_to()),
        source,
    })?;
    if has_no_content(text) {
        return Ok(Vec::new());
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: MOST_DEPTH,
            max_nodes: MOST_NODES,
            max_events: MOST_NODES * 4,
            max_aliases: MOST_ALIASES,
            max_anchors: MOST_ALIASES,
        },
        with_snippet: false,
        // As text, so that it is refused with its key.
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    };
    let root: Spanned<Node> =
        serde_saphyr::from_str_with_options(text, options).map_err(|source| {
            ConfigError::Syntax {
                path: path.to_path_buf(),
                line: source.location().map_or(0, |location| location.line()),
                source: Box::new(source),
            }
        })?;
    let wrong = |(line, what): (u64, &'static str)| ConfigError::Syntax {
        path: path.to_path_buf(),
        line,
        source: what.into(),
    };
    if matches!(root.value, Node::Text(_)) {
        return Err(wrong((
            root.referenced.line(),
            "a configuration is a mapping of keys to values",
        )));
    }
    let mut leaves = Vec::new();
    flatten(root, &mut Vec::new(), &mut leaves).map_err(wrong)?;
    // The whole file saying nothing is no key.
    leaves.retain(|leaf| !leaf.path.is_empty());
    Ok(leaves)
}

/// Blank lines and comments alone: a file of which everything is commented out.
fn has_no_content(text: &str) -> bool {
    text.trim_start_matches('\u{feff}')
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

fn line_of(bytes: &[u8], offset: usize) -> u64 {
    let breaks = bytes[..offset]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count();
    u64::try_from(breaks).unwrap_or(u64::MAX).saturating_add(1)
}

/// Fails with the line and what is wrong there.
fn flatten(
    node: Spanned<Node>,
    path: &mut Vec<String>,
    leaves: &mut Vec<Leaf>,
) -> Result<(), (u64, &'static str)> {
    let line = node.referenced.line();
    let text = match node.value {
        Node::Map(pairs) => {
            for (key, value) in pairs {
                path.push(key);
                flatten(value, path, leaves)?;
                path.pop();
            }
            return Ok(());
        }
        Node::List => return Err((line, "a list has no place in a configuration")),
        Node::Text(text) => Some(text),
        Node::Empty => None,
    };
    leaves.push(Leaf {
        path: path.clone(),
        text,
        line,
    });
    Ok(())
}

/// What a configuration is made of.
#[derive(Debug)]
enum Node {
    Map(Vec<(String, Spanned<Node>)>),
    Text(String),
    List,
    Empty,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

macro_rules! visit_as_text {
    ($($name:ident: $kind:ty),* $(,)?) => {$(
        fn $name<E: serde::de::Error>(self, value: $kind) -> Result<Node, E> {
            Ok(Node::Text(value.to_string()))
        }
    )*};
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value or a section")
    }

    visit_as_text! {
        visit_bool: bool,
        visit_i64: i64,
        visit_i128: i128,
        visit_u64: u64,
        visit_u128: u128,
        visit_f64: f64,
        visit_str: &str,
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Empty)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Empty)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            pairs.push((key, map.next_value()?));
        }
        Ok(Node::Map(pairs))
    }
}
