//! What proxies look like: one level, the first few items, long ones cut. Safe on cycles, and short.

use pyo3::prelude::*;
use subduct_heap::object::{Kind, Outgoing, Value, dict, outgoing};
use subduct_heap::{Op, Retry};

use crate::heap::NativeHeap;
use crate::held::Held;
use crate::keys::KeyOut;
use crate::outgoing::to_object;
use crate::transfer::{element, length};

/// Items shown.
const ITEMS_SHOWN: usize = 4;
/// Bytes of a string, bytes or int from which on it is cut.
const LONG: usize = 64;
/// Bytes of a long string that are shown.
const CUT: usize = 40;

/// An item, as far as it is shown.
enum Brief {
    Value(KeyOut),
    Container(Kind, usize),
    Long(Kind, Vec<u8>, usize),
}

impl Brief {
    fn read(op: &mut Op<'_>, value: Value) -> Result<Self, Retry> {
        let Some(object) = value.as_ref() else {
            return outgoing(op, value).map(|value| Self::Value(KeyOut::Scalar(value)));
        };
        let header = op.header(object);
        Ok(match header.kind() {
            Kind::Dict => Self::Container(Kind::Dict, dict::len(op, object)?),
            kind @ (Kind::List | Kind::Tuple) => Self::Container(kind, length(op, object)?),
            kind if header.raw_len() > LONG => Self::Long(kind, op.raw(object)[..CUT].to_vec(), header.raw_len()),
            _ => Self::Value(KeyOut::Scalar(outgoing(op, value)?)),
        })
    }

    /// A key: a tuple as it is.
    fn read_key(op: &mut Op<'_>, value: Value) -> Result<Self, Retry> {
        match value.as_ref().map(|object| op.header(object).kind()) {
            Some(Kind::Tuple) => KeyOut::read(op, value).map(Self::Value),
            _ => Self::read(op, value),
        }
    }

    fn shown(self, py: Python<'_>, heap: &Py<NativeHeap>) -> PyResult<String> {
        match self {
            Self::Value(value) => {
                let text = value.into_object(py, heap)?.repr()?.to_string_lossy().into_owned();
                Ok(match text.char_indices().nth(2 * LONG) {
                    Some((cut, _)) => format!("{}...", &text[..cut]),
                    None => text,
                })
            }
            Self::Container(kind, len) => Ok(format!("{kind:?}({})", counted(len))),
            Self::Long(Kind::BigInt, _, bytes) => Ok(format!("<int of {bytes} bytes>")),
            Self::Long(Kind::Bytes, start, _) => {
                let start = to_object(py, heap, Outgoing::Bytes(start.into()))?;
                Ok(format!("{}...", start.repr()?.to_string_lossy()))
            }
            Self::Long(_, start, _) => {
                // The cut may have left a part of a character.
                let start = String::from_utf8_lossy(&start).trim_end_matches('\u{fffd}').to_owned();
                let start = to_object(py, heap, Outgoing::Str(start.into_bytes().into()))?;
                Ok(format!("{}...", start.repr()?.to_string_lossy()))
            }
        }
    }
}

fn counted(len: usize) -> String {
    if len == 1 { "1 item".to_owned() } else { format!("{len} items") }
}

/// The length and the first items. Only a dict's have keys.
struct Glance {
    len: usize,
    items: Vec<(Option<Brief>, Brief)>,
}

/// `Dict(2 items: {'a': 1, 'b': List(3 items)})`.
pub fn dict(py: Python<'_>, held: &Held) -> String {
    let glance = held.run(py, |op, _| {
        let (mut items, mut position) = (Vec::new(), 0);
        while items.len() < ITEMS_SHOWN {
            // Finding the next entry may have moved the dict.
            let object = op.handle_get(held.handle());
            let Some((next, key, value)) = dict::next(op, object, position)? else { break };
            items.push((Some(Brief::read_key(op, key)?), Brief::read(op, value)?));
            position = next;
        }
        let object = op.handle_get(held.handle());
        Ok(Glance { len: dict::len(op, object)?, items })
    });
    written(py, "Dict", held, glance)
}

/// `List(3 items: [1, 2, 'x'])`.
pub fn sequence(py: Python<'_>, name: &str, held: &Held) -> String {
    let glance = held.run(py, |op, object| {
        let (mut items, len) = (Vec::new(), length(op, object)?);
        for i in 0..len.min(ITEMS_SHOWN) {
            let Some(value) = element(op, object, i)? else { break };
            items.push((None, Brief::read(op, value)?));
        }
        Ok(Glance { len, items })
    });
    written(py, name, held, glance)
}

fn written(py: Python<'_>, name: &str, held: &Held, glance: PyResult<Glance>) -> String {
    let Ok(Glance { len, items }) = glance else { return format!("{name}(in a closed heap)") };
    if items.is_empty() {
        return format!("{name}({})", counted(len));
    }
    let is_cut = items.len() < len;
    let mut shown: Vec<String> = items
        .into_iter()
        .map(|(key, value)| {
            let value = value.shown(py, held.heap())?;
            Ok(match key {
                Some(key) => format!("{}: {value}", key.shown(py, held.heap())?),
                None => value,
            })
        })
        .map(|item: PyResult<String>| item.unwrap_or_else(|_| "?".to_owned()))
        .collect();
    if is_cut {
        shown.push("...".to_owned());
    }
    let (open, close) = match name {
        "Dict" => ("{", "}"),
        "List" => ("[", "]"),
        _ if len == 1 => ("(", ",)"),
        _ => ("(", ")"),
    };
    format!("{name}({}: {open}{}{close})", counted(len), shown.join(", "))
}
