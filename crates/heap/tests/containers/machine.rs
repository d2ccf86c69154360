//! Does a program's steps on a heap and on the oracle, and compares results.

use std::cell::Cell;
use std::iter;

use subduct_heap::object::{Key, Ref, Scalar, Value, dict, list, scalar_equals, tuple};
use subduct_heap::{Error, Handle, Heap, Op, Retry, Stats};

use super::model::{Container, Dict, Held, Objects};
use super::program::{Item, Program, REGISTERS, Step};
use super::value::Plain;

/// Elements that one program may touch in bulk: steps beyond that are left out, so that no program takes long.
const WORK: usize = 50_000;
/// What a collection, or something as dear, counts for.
const COLLECTION_WORK: usize = 2000;
/// What a cycle counts for in any case.
const CYCLE_WORK: usize = 200;
/// Objects of an empty heap: the root and two caches of strings.
const OWN_OBJECTS: u64 = 3;

/// A container that steps can name.
#[derive(Clone, Copy)]
pub(super) struct Register {
    pub(super) handle: Handle,
    /// The same in the oracle.
    pub(super) object: usize,
}

/// A heap and its oracle.
pub(super) struct Machine<'h> {
    pub(super) heap: &'h Heap,
    pub(super) objects: Objects,
    pub(super) registers: [Register; REGISTERS],
    work: Cell<usize>,
    refused: Cell<u64>,
}

/// Runs a program, with `between` called after every step. Returns the heap's figures at the end, and how many operations
/// it was too full for.
///
/// # Panics
/// When the heap and the oracle disagree.
pub fn check(program: &Program, mut between: impl FnMut(&Heap, &[Handle])) -> (Stats, u64) {
    let heap = Heap::new(program.options.clone()).expect("a heap of this delivery");
    let handles = heap.stats().expect("an open heap").handles;
    let mut machine = Machine::new(&heap);
    let is_traced = std::env::var_os("SUBDUCT_FUZZ_TRACE").is_some();
    if is_traced {
        eprintln!("{:?}", program.options);
    }
    let mut cycles = 0;
    for step in &program.steps {
        if is_traced {
            eprintln!("{step:?}");
        }
        machine.step(step);
        let cycles_now = heap.stats().expect("an open heap").cycles;
        machine.charge((cycles_now - std::mem::replace(&mut cycles, cycles_now)) as usize * CYCLE_WORK);
        between(&heap, &machine.registers.map(|register| register.handle));
    }
    machine.compare_all();
    machine.registers.iter().for_each(|register| heap.drop_handle(register.handle));
    let live = heap.collect().expect("a collection").live_objects;
    let traced = heap.verify().expect("a sound heap").objects;
    assert_eq!(live, traced, "marker and second tracer agree on a quiet heap");
    assert_eq!(live, OWN_OBJECTS + machine.cached_strings(), "nothing lives on without a handle");
    let stats = heap.stats().expect("an open heap");
    assert_eq!(stats.handles, handles, "handles came back");
    assert!(stats.resident_bytes <= stats.budget_bytes, "{stats:?}");
    (stats, machine.refused.get())
}

impl<'h> Machine<'h> {
    fn new(heap: &'h Heap) -> Self {
        let mut objects = Objects::default();
        let registers = std::array::from_fn(|number| {
            let is_dict = number % 2 == 0;
            let handle = heap.run(|op| {
                let object = if is_dict { dict::new(op, 0)? } else { list::new(op, 0)? };
                op.handle_new(object)
            });
            let container = if is_dict { Container::Dict(Dict::default()) } else { Container::List(Vec::new()) };
            Register { handle: handle.expect("room in an empty heap"), object: objects.add(container) }
        });
        Self { heap, objects, registers, work: Cell::new(WORK), refused: Cell::new(0) }
    }

    /// Runs an operation that needs no room.
    pub(super) fn run<T>(&self, f: impl FnMut(&mut Op<'_>) -> Result<T, Retry>) -> T {
        self.heap.run(f).expect("what needs no room cannot fail")
    }

    /// Runs an operation that the heap may be too full for: then nothing has changed.
    pub(super) fn try_run<T>(&self, f: impl FnMut(&mut Op<'_>) -> Result<T, Retry>) -> Option<T> {
        match self.heap.run(f) {
            Ok(done) => Some(done),
            Err(Error::Full { .. }) => {
                self.refused.set(self.refused.get() + 1);
                self.charge(COLLECTION_WORK);
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether this program may still touch so many elements.
    pub(super) fn afford(&self, elements: usize) -> bool {
        let left = self.work.get().checked_sub(elements);
        self.work.set(left.unwrap_or(self.work.get()));
        left.is_some()
    }

    /// Counts work that was not asked for.
    fn charge(&self, elements: usize) {
        self.work.set(self.work.get().saturating_sub(elements));
    }

    /// Number of the first register from `from` on whose container is a wanted one.
    pub(super) fn find(&self, from: usize, is_wanted: impl Fn(&Container) -> bool) -> Option<usize> {
        let mut numbers = (from..from + REGISTERS).map(|number| number % REGISTERS);
        numbers.find(|number| is_wanted(self.objects.get(self.registers[*number].object)))
    }

    pub(super) fn scalar<'i>(&self, item: &'i Item) -> Scalar<'i> {
        match item {
            Item::Plain(plain) => plain.scalar(),
            Item::Register(number) => Scalar::Object(self.registers[*number].handle),
        }
    }

    pub(super) fn held(&self, item: &Item) -> Held {
        match item {
            Item::Plain(plain) => Held::Plain(plain.stored()),
            Item::Register(number) => Held::Object(self.registers[*number].object),
        }
    }

    /// Makes a container and puts it in a register.
    pub(super) fn make(
        &mut self,
        to: usize,
        container: Container,
        mut new: impl FnMut(&mut Op<'_>) -> Result<Ref, Retry>,
    ) {
        let made = self.try_run(|op| {
            let object = new(op)?;
            op.handle_new(object)
        });
        self.adopt(to, container, made);
    }

    /// Puts a container in a register, if it was made.
    fn adopt(&mut self, to: usize, container: Container, made: Option<Handle>) {
        let Some(handle) = made else { return };
        let object = self.objects.add(container);
        self.put(to, Register { handle, object });
    }

    fn put(&mut self, to: usize, new: Register) {
        let old = std::mem::replace(&mut self.registers[to], new);
        self.heap.drop_handle(old.handle);
        self.compare_one(self.registers[to]);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::NewDict { to, capacity } => {
                if self.afford(capacity / 8) {
                    self.make(*to, Container::Dict(Dict::default()), |op| dict::new(op, *capacity));
                }
            }
            Step::NewList { to, capacity } => {
                if self.afford(capacity / 8) {
                    self.make(*to, Container::List(Vec::new()), |op| list::new(op, *capacity));
                }
            }
            Step::NewTuple { to, items, repeat } => self.new_tuple(*to, items, *repeat),
            Step::NewRecord { to, fields } => self.new_record(*to, fields),
            Step::Dict(of, step) => {
                if let Some(number) = self.find(*of, |container| matches!(container, Container::Dict(_))) {
                    self.dict_step(self.registers[number], step);
                    // A copy may have taken its place.
                    self.compare_one(self.registers[number]);
                }
            }
            Step::List(of, step) => {
                if let Some(number) = self.find(*of, |container| matches!(container, Container::List(_))) {
                    self.list_step(self.registers[number], step);
                    self.compare_one(self.registers[number]);
                }
            }
            Step::Fetch { from, at, to } => self.fetch(self.registers[*from], *at, *to),
            Step::Compare { of, at, with } => self.compare_item(self.registers[*of], *at, with),
            Step::Collect => {
                if self.afford(COLLECTION_WORK) {
                    let report = self.heap.collect().expect("a collection");
                    assert!(report.verified, "{report:?}");
                    self.compare_all();
                }
            }
            Step::Flip => {
                if self.afford(COLLECTION_WORK) {
                    self.heap.flip().expect("a flip");
                }
            }
            Step::Verify => {
                if self.afford(COLLECTION_WORK) {
                    self.heap.verify().expect("a sound heap");
                }
            }
        }
    }

    fn new_tuple(&mut self, to: usize, items: &[Item], repeat: usize) {
        let Some((scalars, held)) = self.repeat(items, repeat) else { return };
        self.make(to, Container::Tuple(held), |op| {
            let tuple = tuple::new(op, scalars.len())?;
            scalars.iter().enumerate().try_for_each(|(i, item)| tuple::init(op, tuple, i, item))?;
            Ok(tuple)
        });
    }

    /// The items over and over, `count` of them in all, for the heap and for the oracle; `None` when that is too much.
    pub(super) fn repeat<'i>(&self, items: &'i [Item], count: usize) -> Option<(Vec<Scalar<'i>>, Vec<Held>)> {
        let count = if items.is_empty() { 0 } else { count };
        let heaviest = items.iter().map(weight).max().unwrap_or(0);
        self.afford(count * heaviest).then(|| {
            let items = items.iter().cycle().take(count);
            (items.clone().map(|item| self.scalar(item)).collect(), items.map(|item| self.held(item)).collect())
        })
    }

    /// A dict of four fields, made in one operation.
    fn new_record(&mut self, to: usize, fields: &[Item; 4]) {
        const NAMES: [&[u8]; 4] = [b"id", b"name", b"a name of eight or more", b"tags"];
        let scalars = fields.each_ref().map(|item| self.scalar(item));
        let mut record = Dict::default();
        for (name, item) in iter::zip(NAMES, fields) {
            record.insert(&Plain::Str(name.into()), self.held(item));
        }
        let made = self.try_run(|op| {
            let record = dict::new(op, NAMES.len())?;
            let record = op.handle_new(record)?;
            let mut fields = iter::zip(NAMES, &scalars);
            let filled = fields
                .try_for_each(|(name, item)| dict::insert(op, op.handle_get(record), &Key::Str(name), item).map(drop));
            if filled.is_err() {
                op.handle_drop(record);
            }
            filled.map(|()| record)
        });
        self.adopt(to, Container::Dict(record), made);
    }

    /// Puts the container at a position, if there is one, in a register.
    fn fetch(&mut self, from: Register, at: usize, to: usize) {
        let at = at % self.objects.get(from.object).len().max(1);
        let Some(Held::Object(object)) = self.objects.held(from.object, at).cloned() else { return };
        let Some(key) = self.key_at(from, at) else { return };
        let fetched = self.run(|op| {
            let value = self.value_at(op, from, at, key.as_ref())?;
            op.handle_new(value.and_then(Value::as_ref).expect("a container at this position"))
        });
        self.put(to, Register { handle: fetched, object });
    }

    /// Compares the value at a position as Python's `==` does.
    fn compare_item(&mut self, of: Register, at: usize, with: &Item) {
        let at = at % self.objects.get(of.object).len().max(1);
        let Some(held) = self.objects.held(of.object, at) else { return };
        let Some(key) = self.key_at(of, at) else { return };
        let expected = match (held, with) {
            (Held::Plain(held), Item::Plain(with)) => {
                held.canonical().is_some_and(|canonical| Some(canonical) == with.canonical())
            }
            _ => *held == self.held(with),
        };
        let found = self.run(|op| {
            let value = self.value_at(op, of, at, key.as_ref())?.expect("a value at this position");
            Ok(scalar_equals(op, value, &self.scalar(with)))
        });
        assert_eq!(found, expected, "{held:?} == {with:?}");
    }

    /// The key that leads to a dict's value number `at`: `None` when none does, `Some(None)` when none is needed.
    fn key_at(&self, of: Register, at: usize) -> Option<Option<Plain>> {
        let Container::Dict(dict) = self.objects.get(of.object) else { return Some(None) };
        let (key, _) = dict.iter().nth(at)?;
        key.canonical().map(|_| Some(key.clone()))
    }

    fn value_at(&self, op: &mut Op<'_>, of: Register, at: usize, key: Option<&Plain>) -> Result<Option<Value>, Retry> {
        let object = op.handle_get(of.handle);
        match (self.objects.get(of.object), key) {
            (Container::Dict(_), Some(key)) => dict::get(op, object, &key.key()),
            (Container::Tuple(_), _) => Ok(tuple::get(op, object, at)),
            _ => list::get(op, object, at),
        }
    }
}

/// What storing an item counts for: an element, and more where it is long.
fn weight(item: &Item) -> usize {
    match item {
        Item::Plain(Plain::Str(bytes) | Plain::Bytes(bytes)) => 1 + bytes.len() / 512,
        _ => 1,
    }
}
