mod slices;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::mutator::Handle;
use crate::object::testing::{Plain, calm_heap, keep, on, options, stressed_heap, while_collecting};
use crate::object::tuple;
use crate::{Heap, Options};

fn read_all(heap: &Heap, list: Handle) -> Vec<Plain> {
    let length = on(heap, list, len);
    let read = |i| {
        on(heap, list, |op, object| {
            let item = get(op, object, i)?;
            Plain::read_some(op, item)
        })
    };
    assert_eq!(read(length), None);
    (0..length).map(|i| read(i).expect("an item below the length")).collect()
}

fn capacity(heap: &Heap, list: Handle) -> usize {
    on(heap, list, |op, object| Ok(Body::of(op, object).items.map_or(0, |items| op.header(items).slots())))
}

/// Room that no item uses must not keep anything alive.
fn check_spare_room(heap: &Heap, list: Handle) {
    on(heap, list, |op, object| {
        let Body { items, len } = Body::of(op, object);
        let Some(items) = items else { return Ok(()) };
        let slots = op.header(items).slots();
        assert!((len..slots).all(|slot| op.load(items, slot) == Value::EMPTY));
        Ok(())
    });
}

/// Mostly immediates, so that many of them fit an operation.
fn some_value(random: &mut StdRng) -> Plain {
    match random.random_range(0..200) {
        0 => Plain::str("a string of some length that needs a leaf of its own"),
        1 => Plain::int(1 << 100),
        2 => Plain::Bytes(vec![7; 9]),
        3 => Plain::None,
        n => Plain::Int(n),
    }
}

fn some_values(random: &mut StdRng, most: usize) -> Vec<Plain> {
    (0..random.random_range(0..=most)).map(|_| some_value(random)).collect()
}

/// One step of both, compared.
fn step(heap: &Heap, list: Handle, model: &mut Vec<Plain>, most: usize, random: &mut StdRng) {
    let i = random.random_range(0..model.len() + 2);
    let value = some_value(random);
    match random.random_range(0..20) {
        0..6 => {
            on(heap, list, |op, object| push(op, object, &value.scalar()));
            model.push(value);
        }
        6..8 => {
            on(heap, list, |op, object| insert(op, object, i, &value.scalar()));
            model.insert(i.min(model.len()), value);
        }
        8..11 => {
            let removed = on(heap, list, |op, object| {
                let item = remove(op, object, i)?;
                Plain::read_some(op, item)
            });
            assert_eq!(removed, (i < model.len()).then(|| model.remove(i)));
        }
        11..13 => {
            assert_eq!(on(heap, list, |op, object| set(op, object, i, &value.scalar())), i < model.len());
            if let Some(item) = model.get_mut(i) {
                *item = value;
            }
        }
        13..15 => {
            let new = some_values(random, most);
            let deleted = random.random_range(0..most);
            let scalars: Vec<_> = new.iter().map(Plain::scalar).collect();
            on(heap, list, |op, object| splice(op, object, i, deleted, &scalars));
            splice_model(model, i, deleted, new);
        }
        15..17 => splice_from_other(heap, list, model, most, random),
        17 => {
            on(heap, list, reverse);
            model.reverse();
        }
        18 => {
            let len = model.len().saturating_sub(random.random_range(0..most));
            on(heap, list, |op, object| truncate(op, object, len));
            model.truncate(len);
        }
        _ => compare_slice(heap, list, model, random),
    }
    assert_eq!(on(heap, list, len), model.len());
}

fn splice_model(model: &mut Vec<Plain>, start: usize, deleted: usize, new: Vec<Plain>) {
    let start = start.min(model.len());
    model.splice(start..(start + deleted).min(model.len()), new);
}

fn splice_from_other(heap: &Heap, list: Handle, model: &mut Vec<Plain>, most: usize, random: &mut StdRng) {
    let (start, deleted) = (random.random_range(0..model.len() + 2), random.random_range(0..most));
    let count = random.random_range(0..most + 2);
    let (from, new) = match random.random_range(0..3) {
        0 if model.len() < 3 * most => (list, model.clone()),
        1 => {
            let new = some_values(random, most);
            let from = keep(heap, |op| new_tuple(op, &new));
            (from, new)
        }
        _ => {
            let new = some_values(random, most);
            let from = keep(heap, |op| super::new(op, 0));
            for item in &new {
                on(heap, from, |op, object| push(op, object, &item.scalar()));
            }
            (from, new)
        }
    };
    on(heap, list, |op, object| splice_from(op, object, start, deleted, from, count));
    splice_model(model, start, deleted, new[..count.min(new.len())].to_vec());
    if from != list {
        heap.drop_handle(from);
    }
}

fn new_tuple(op: &mut Op<'_>, items: &[Plain]) -> Result<Ref, Retry> {
    let new = tuple::new(op, items.len())?;
    for (i, item) in items.iter().enumerate() {
        tuple::init(op, new, i, &item.scalar())?;
    }
    Ok(new)
}

fn compare_slice(heap: &Heap, list: Handle, model: &[Plain], random: &mut StdRng) {
    let start = random.random_range(0..model.len() + 1);
    let step = [1, 1, 2, 7, -1, -3, isize::MIN, isize::MAX][random.random_range(0..8)];
    let count = random.random_range(0..model.len() + 2);
    let slice = keep(heap, |op| {
        let object = op.handle_get(list);
        copy(op, object, start, step, count)
    });
    let expected: Vec<_> = std::iter::successors(Some(start), |at| at.checked_add_signed(step))
        .map_while(|at| model.get(at).cloned())
        .take(count)
        .collect();
    assert_eq!(read_all(heap, slice), expected, "{start} {step} {count}");
    heap.drop_handle(slice);
}

fn drive(seed: u64, most: usize, steps: usize) {
    let heap = stressed_heap();
    let random = &mut StdRng::seed_from_u64(seed);
    let list = keep(&heap, |op| new(op, 0));
    let mut model = Vec::new();
    while_collecting(&heap, || {
        for i in 0..steps {
            step(&heap, list, &mut model, most, random);
            if i % 50 == 0 {
                assert_eq!(read_all(&heap, list), model);
                check_spare_room(&heap, list);
            }
            if random.random_ratio(1, 500) {
                on(&heap, list, clear);
                model.clear();
            }
        }
        assert_eq!(read_all(&heap, list), model);
    });
    heap.close();
}

#[test]
fn a_short_list_does_what_a_vec_does() {
    for seed in 0..4 {
        drive(seed, 6, 2000);
    }
}

#[test]
fn a_list_longer_than_a_piece_does_what_a_vec_does() {
    for seed in 0..3 {
        drive(100 + seed, 1500, 600);
    }
}

#[test]
fn a_list_of_four_takes_72_bytes_however_it_is_filled() {
    let heap = calm_heap();
    for capacity in [0, 4] {
        let list = keep(&heap, |op| new(op, capacity));
        for i in 0..4 {
            on(&heap, list, |op, object| push(op, object, &Scalar::Int(i)));
        }
        let bytes = on(&heap, list, |op, object| {
            let items = Body::of(op, object).items.unwrap();
            Ok(op.header(object).bytes() + op.header(items).bytes())
        });
        assert_eq!(bytes, 72);
    }
}

#[test]
fn whatever_changes_a_list_counts() {
    let heap = calm_heap();
    let list = keep(&heap, |op| new(op, 0));
    let count = || on(&heap, list, |op, object| Ok(op.changes(object)));
    let item = Plain::Int(7);
    type Change = fn(&mut Op<'_>, Ref) -> Result<(), Retry>;
    let changing: [(&str, Change); 8] = [
        ("push", |op, list| push(op, list, &Scalar::Int(1))),
        ("insert", |op, list| insert(op, list, 0, &Scalar::Int(2))),
        ("set", |op, list| set(op, list, 0, &Scalar::Int(3)).map(drop)),
        ("splice", |op, list| splice(op, list, 0, 1, &[Scalar::Int(4)])),
        ("reverse", reverse),
        ("remove", |op, list| remove(op, list, 0).map(drop)),
        ("truncate", |op, list| truncate(op, list, 0)),
        ("clear", clear),
    ];
    for (name, change) in changing {
        on(&heap, list, |op, object| push(op, object, &item.scalar()));
        let before = count();
        on(&heap, list, change);
        assert_ne!(count(), before, "{name}");
    }
    let before = count();
    read_all(&heap, list);
    assert_eq!(count(), before);
}

#[test]
fn a_list_gives_memory_back_when_most_of_it_is_removed() {
    let heap = calm_heap();
    let filled = || {
        let list = keep(&heap, |op| new(op, 0));
        for i in 0..20_000 {
            on(&heap, list, |op, object| push(op, object, &Scalar::Int(i)));
        }
        assert!(capacity(&heap, list) <= 20_000 * 9 / 8 + 4);
        list
    };
    let popped = filled();
    for i in (10..20_000).rev() {
        assert_eq!(on(&heap, popped, |op, object| remove(op, object, i)), Value::small_int(i as i64));
    }
    let cut = filled();
    on(&heap, cut, |op, object| truncate(op, object, 10));
    let spliced = filled();
    on(&heap, spliced, |op, object| splice(op, object, 5, 19_990, &[]));
    for list in [popped, cut, spliced] {
        assert_eq!(on(&heap, list, len), 10);
        assert!(capacity(&heap, list) < 50, "{}", capacity(&heap, list));
    }
    let large = keep(&heap, |op| new(op, 400_000));
    on(&heap, large, |op, object| splice(op, object, 0, 0, &vec![Scalar::Int(1); 400_000]));
    on(&heap, large, |op, object| truncate(op, object, 80_000));
    assert!(capacity(&heap, large) <= 90_004, "{}", capacity(&heap, large));
    on(&heap, cut, |op, object| truncate(op, object, 0));
    assert_eq!(capacity(&heap, cut), 0);
}

#[test]
fn objects_removed_from_the_front_survive_the_shift() {
    let heap = stressed_heap();
    let list = keep(&heap, |op| new(op, 0));
    let text = |i: i64| format!("string number {i} that has a leaf of its own");
    for i in 0..3000 {
        on(&heap, list, |op, object| push(op, object, &Scalar::Str(text(i).as_bytes())));
    }
    for i in 0..2900 {
        let removed = on(&heap, list, |op, object| {
            let item = remove(op, object, 0)?;
            Plain::read_some(op, item)
        });
        assert_eq!(removed, Some(Plain::str(&text(i))));
    }
}

#[test]
fn threads_share_a_list() {
    let heap = stressed_heap();
    let list = keep(&heap, |op| new(op, 0));
    while_collecting(&heap, || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let heap = &heap;
                scope.spawn(move || {
                    for i in 0..3000 {
                        on(heap, list, |op, object| insert(op, object, i / 2, &Scalar::Str(b"an item of a thread")));
                        if i % 3 == 0 {
                            on(heap, list, |op, object| remove(op, object, 0).map(drop));
                        }
                    }
                });
            }
        });
    });
    assert_eq!(read_all(&heap, list), vec![Plain::str("an item of a thread"); 8000]);
}

#[test]
#[ignore = "takes half a gigabyte"]
fn ten_million_items() {
    let heap = Heap::new(Options { budget_bytes: 2 << 30, ..options() }).expect("a heap for a test");
    let list = keep(&heap, |op| new(op, 0));
    let count = 10_000_000_i64;
    for i in 0..count {
        on(&heap, list, |op, object| push(op, object, &Scalar::Int(i)));
    }
    on(&heap, list, |op, object| insert(op, object, 0, &Scalar::Int(-1)));
    on(&heap, list, reverse);
    assert_eq!(on(&heap, list, |op, object| get(op, object, 0)), Value::small_int(count - 1));
    on(&heap, list, |op, object| splice_from(op, object, 1, 0, list, usize::MAX));
    assert_eq!(on(&heap, list, len), 2 * (count as usize + 1));
    assert_eq!(on(&heap, list, |op, object| get(op, object, count as usize + 2)), Value::small_int(count - 2));
    on(&heap, list, |op, object| splice(op, object, 1, 2 * count as usize, &[]));
    assert_eq!(read_all(&heap, list), [Plain::Int(count - 1), Plain::Int(-1)]);
}
