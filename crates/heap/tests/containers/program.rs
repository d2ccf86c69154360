//! What bytes mean: how a heap is set up, and steps to do in it.
//!
//! Every string of bytes is a program, and a byte more or less changes little of it. The meaning of a byte is written
//! down here and depends on no library, so that a kept input goes on meaning what it was kept for.

use std::rc::Rc;

use subduct_heap::{Delivery, Options, Recycle};

use super::value::{Plain, near_power};

/// Containers that a program can name at any time.
pub const REGISTERS: usize = 4;

/// A heap and what is done in it.
#[derive(Debug)]
pub struct Program {
    pub options: Options,
    pub steps: Vec<Step>,
}

/// Something to store.
#[derive(Clone, Debug)]
pub enum Item {
    Plain(Plain),
    /// The container in a register.
    Register(usize),
}

/// One step. Positions beyond the end are as good as any other; `of` means the first register from there on that holds
/// the right kind of container.
#[derive(Debug)]
pub enum Step {
    NewDict {
        to: usize,
        capacity: usize,
    },
    NewList {
        to: usize,
        capacity: usize,
    },
    NewTuple {
        to: usize,
        items: Vec<Item>,
        repeat: usize,
    },
    NewRecord {
        to: usize,
        fields: [Item; 4],
    },
    Dict(usize, DictStep),
    List(usize, ListStep),
    /// Puts the container that is found there in a register.
    Fetch {
        from: usize,
        at: usize,
        to: usize,
    },
    /// Compares what is there as Python does.
    Compare {
        of: usize,
        at: usize,
        with: Item,
    },
    /// A full collection, and a look at everything afterwards.
    Collect,
    Flip,
    Verify,
}

/// Something done with a dict.
#[derive(Debug)]
pub enum DictStep {
    Insert { key: Plain, item: Item },
    GetOrInsert { key: Plain, item: Item },
    Get { key: Plain },
    Remove { key: Plain },
    RemoveAt { at: usize },
    PopLast,
    Clear,
    Copy { to: usize },
    Iterate { backwards: bool },
    Fill { first: usize, count: usize, form: Form },
    Drain { first: usize, count: usize, form: Form },
}

/// Something done with a list.
#[derive(Debug)]
pub enum ListStep {
    Push { item: Item },
    Set { at: usize, item: Item },
    Insert { at: usize, item: Item },
    Remove { at: usize },
    Truncate { len: usize },
    Clear,
    Reverse,
    Copy { start: usize, step: isize, count: usize, to: usize },
    Splice { start: usize, deleted: usize, items: Vec<Item>, repeat: usize },
    SpliceFrom { start: usize, deleted: usize, from: usize, count: usize },
}

/// What the keys that are inserted or removed in numbers look like.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Int,
    Fraction,
    Name,
    Pair,
}

impl Form {
    /// Key number `number`.
    pub fn key(self, number: usize) -> Plain {
        match self {
            Self::Int => Plain::Int(number as i64),
            Self::Fraction => Plain::Float((number as f64 + 0.5).to_bits()),
            Self::Name => Plain::Str(format!("a name that is number {number}").into_bytes().into()),
            Self::Pair => Plain::Tuple(Rc::new([Plain::Int(number as i64 % 7), Plain::Int(number as i64)])),
        }
    }
}

/// The program that these bytes are.
pub fn decode(bytes: &[u8]) -> Program {
    let mut reader = Reader(bytes);
    let options = reader.options();
    let mut steps = Vec::new();
    while !reader.0.is_empty() {
        steps.push(reader.step());
    }
    Program { options, steps }
}

/// Takes bytes from the front; zeroes once there are none left.
struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    fn register(&mut self) -> usize {
        self.below(REGISTERS)
    }

    /// Most are small, some are beyond a piece between two safepoints, a few make a large object.
    fn count(&mut self) -> usize {
        match self.byte() {
            small @ 0..192 => usize::from(small) % 24,
            middle @ 192..240 => usize::from(middle - 191) * 40 + self.below(40),
            large => usize::from(large - 239) * 2400 + self.below(256),
        }
    }

    fn position(&mut self) -> usize {
        match self.byte() {
            small @ 0..224 => usize::from(small) % 32,
            _ => usize::from(u16::from_le_bytes(self.bytes())),
        }
    }

    fn options(&mut self) -> Options {
        let choice = self.below(192);
        Options {
            budget_bytes: [8 << 20, 32 << 20][choice / 96],
            delivery: Some(Delivery::ALL[choice % 4]),
            recycle: [Recycle::Pool, Recycle::Keep, Recycle::Release][choice / 4 % 3],
            verify: true,
            // Everything moves in each cycle, and there are only those that steps ask for; or only what is sparse does;
            // or cycles run all the time.
            stress_bytes: [
                Some(1 << 40),
                Some(1 << 40),
                Some(1 << 40),
                None,
                None,
                Some(1 << 18),
                Some(1 << 14),
                Some(1 << 12),
            ][choice / 12 % 8],
            ..Options::default()
        }
    }

    fn step(&mut self) -> Step {
        match self.below(32) {
            0..12 => Step::Dict(self.register(), self.dict_step()),
            12..24 => Step::List(self.register(), self.list_step()),
            24 => match self.below(4) {
                0 => Step::NewDict { to: self.register(), capacity: self.count() },
                1 => Step::NewList { to: self.register(), capacity: self.count() },
                _ => Step::NewTuple { to: self.register(), items: self.items(), repeat: self.count() },
            },
            25 => Step::NewRecord { to: self.register(), fields: std::array::from_fn(|_| self.item()) },
            26 | 27 => Step::Fetch { from: self.register(), at: self.position(), to: self.register() },
            28 => Step::Compare { of: self.register(), at: self.position(), with: self.item() },
            29 | 30 => Step::Collect,
            _ if self.below(2) == 0 => Step::Flip,
            _ => Step::Verify,
        }
    }

    fn dict_step(&mut self) -> DictStep {
        match self.below(16) {
            0..5 => DictStep::Insert { key: self.key(), item: self.item() },
            5 => DictStep::GetOrInsert { key: self.key(), item: self.item() },
            6 => DictStep::Get { key: self.key() },
            7 => DictStep::Remove { key: self.key() },
            8 | 9 => DictStep::RemoveAt { at: self.position() },
            10 => match self.byte() {
                0..32 => DictStep::Clear,
                _ => DictStep::PopLast,
            },
            11 => DictStep::Copy { to: self.register() },
            12 => DictStep::Iterate { backwards: self.below(2) == 1 },
            13 | 14 => DictStep::Fill { first: self.position(), count: self.count(), form: self.form() },
            _ => DictStep::Drain { first: self.position(), count: self.count(), form: self.form() },
        }
    }

    fn list_step(&mut self) -> ListStep {
        match self.below(16) {
            0..3 => ListStep::Push { item: self.item() },
            3 => ListStep::Set { at: self.position(), item: self.item() },
            4 => ListStep::Insert { at: self.position(), item: self.item() },
            5 | 6 => ListStep::Remove { at: self.position() },
            7 => match self.byte() {
                0..32 => ListStep::Clear,
                _ => ListStep::Truncate { len: self.position() },
            },
            8 | 9 => ListStep::Reverse,
            10 | 11 => ListStep::Copy {
                start: self.position(),
                step: isize::from(self.byte().cast_signed()),
                count: self.count(),
                to: self.register(),
            },
            12 | 13 => ListStep::Splice {
                start: self.position(),
                deleted: self.count(),
                items: self.items(),
                repeat: self.count(),
            },
            _ => ListStep::SpliceFrom {
                start: self.position(),
                deleted: self.count(),
                from: self.register(),
                count: self.count(),
            },
        }
    }

    fn form(&mut self) -> Form {
        [Form::Int, Form::Fraction, Form::Name, Form::Pair][self.below(4)]
    }

    fn items(&mut self) -> Vec<Item> {
        (0..self.below(4)).map(|_| self.item()).collect()
    }

    fn item(&mut self) -> Item {
        if self.0.first().is_some_and(|byte| byte % 4 == 0) {
            return Item::Register(usize::from(self.byte() / 4) % REGISTERS);
        }
        Item::Plain(self.plain())
    }

    fn key(&mut self) -> Plain {
        self.nested_key(3)
    }

    fn nested_key(&mut self, depth: usize) -> Plain {
        if depth > 0 && self.0.first().is_some_and(|byte| byte % 8 == 7) {
            let items = self.byte() / 8 % 4;
            return Plain::Tuple((0..items).map(|_| self.nested_key(depth - 1)).collect());
        }
        self.plain()
    }

    fn plain(&mut self) -> Plain {
        match self.below(20) {
            0 => Plain::None,
            1 => Plain::Bool(self.below(2) == 1),
            2..6 => Plain::Int(i64::from(self.byte().cast_signed())),
            6 => Plain::Int(i64::from_le_bytes(self.bytes())),
            7 => {
                let length = self.below(40);
                Plain::Big((0..length).map(|_| self.byte()).collect())
            }
            // Ints and floats at the same powers of two, so that they meet.
            8 => Plain::Big(near_power(self.exponent(), self.below(2) == 1, self.byte().cast_signed()).into()),
            9 => {
                let power = 2_f64.powi(self.exponent() as i32);
                Plain::Float(if self.below(2) == 1 { -power } else { power }.to_bits())
            }
            10 => Plain::Float(f64::from(self.byte().cast_signed()).to_bits()),
            11 => Plain::Float(u64::from_le_bytes(self.bytes())),
            12 => {
                let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, f64::MAX, 0.5];
                Plain::Float(odd[self.below(8)].to_bits())
            }
            13 | 14 => Plain::Str(self.text().into()),
            15 => Plain::Bytes(self.text().into()),
            16 => Plain::Str(self.repeated().into()),
            17 => Plain::Bytes(self.repeated().into()),
            18 => Plain::Str(format!("a name that is number {}", self.below(32)).into_bytes().into()),
            _ => Plain::Int(self.below(32) as i64),
        }
    }

    /// Around the widths that matter, or anywhere that a float reaches.
    fn exponent(&mut self) -> usize {
        match self.byte() {
            near @ 0..192 => [31, 53, 60, 61, 63, 64, 70, 127][usize::from(near % 8)],
            far => usize::from(far - 192) * 16 + self.below(16),
        }
    }

    /// UTF-8 of the bytes that come next.
    fn text(&mut self) -> Vec<u8> {
        let length = self.below(24);
        let bytes: Vec<u8> = (0..length).map(|_| self.byte()).collect();
        String::from_utf8_lossy(&bytes).into_owned().into_bytes()
    }

    /// One letter many times: around the lengths up to which strings are shared, long, or a large object.
    fn repeated(&mut self) -> Vec<u8> {
        let letter = b'a' + self.byte() % 26;
        let length = match self.byte() {
            0..8 => 262_144 + self.below(64),
            length => 2 * usize::from(length) % 90 + self.below(8) * 100,
        };
        vec![letter; length]
    }
}
