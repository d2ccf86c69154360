use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::oracle::{Oracle, key_of_class, some_value};
use super::{check_table, put, reversed, take};
use crate::mutator::{Handle, Op, Retry};
use crate::object::Scalar;
use crate::object::dict::{self, Merge, Wanted};
use crate::object::key::Key;
use crate::object::list;
use crate::object::testing::{Plain, calm_heap, entries, keep, on, options, stressed_heap, while_collecting};
use crate::{Error, Heap, Options};

/// A dict that has had `inserted` keys of the first `classes`, a tenth of which are gone again.
fn some_dict(heap: &Heap, inserted: usize, classes: usize, random: &mut StdRng) -> (Handle, Oracle) {
    let (dict, mut oracle) = (keep(heap, |op| dict::new(op, 0)), Oracle::default());
    for _ in 0..inserted {
        let class = random.random_range(0..classes);
        let (key, value) = (key_of_class(class, random), some_value(random));
        put(heap, dict, &key, &value);
        oracle.insert(class, key, value);
        let gone = random.random_range(0..classes);
        if random.random_range(0..10) == 0 {
            take(heap, dict, &key_of_class(gone, random));
            oracle.remove(gone);
        }
    }
    (dict, oracle)
}

fn update(heap: &Heap, left: Handle, right: Handle) {
    let mut merge = Merge::new(left, right);
    heap.run(|op| merge.update(op)).expect("room for a merge");
}

fn union(heap: &Heap, left: Handle, right: Handle) -> Handle {
    let mut merge = Merge::new(left, right);
    keep(heap, |op| merge.union(op))
}

fn merged(left: &Oracle, right: &Oracle) -> Oracle {
    let mut merged = left.clone();
    for (class, key, value) in right.entries.values() {
        merged.insert(*class, key.clone(), value.clone());
    }
    merged
}

fn compare_merges(heap: &Heap, seed: u64, rounds: usize, most: usize) {
    let random = &mut StdRng::seed_from_u64(seed);
    for _ in 0..rounds {
        let classes = random.random_range(1..=most);
        let sizes = [random.random_range(0..=most), random.random_range(0..=most)];
        let (left, left_model) = some_dict(heap, sizes[0], classes, random);
        let (right, right_model) = some_dict(heap, sizes[1], classes + most / 3, random);
        let expected = merged(&left_model, &right_model).items();
        let both = union(heap, left, right);
        assert_eq!(entries(heap, both), expected);
        check_table(heap, both);
        assert_eq!(entries(heap, left), left_model.items(), "a union leaves its operands alone");
        update(heap, left, right);
        assert_eq!(entries(heap, left), expected);
        check_table(heap, left);
        assert_eq!(entries(heap, right), right_model.items());
        // What was merged goes on working.
        put(heap, left, &Plain::Int(-1), &Plain::None);
        assert_eq!(take(heap, left, &Plain::Int(-1)), Some(Plain::None));
        assert_eq!(reversed(heap, left), expected.into_iter().rev().collect::<Vec<_>>());
        for dict in [left, right, both] {
            heap.drop_handle(dict);
        }
    }
}

#[test]
fn small_dicts_merge_as_in_a_model() {
    compare_merges(&calm_heap(), 1, 400, 20);
}

#[test]
fn dicts_merge_as_in_a_model() {
    compare_merges(&calm_heap(), 2, 30, 700);
}

#[test]
fn dicts_that_are_merged_beside_the_old_entries_do_as_in_a_model() {
    compare_merges(&calm_heap(), 3, 6, 6000);
}

#[test]
fn dicts_merge_while_objects_move() {
    let heap = stressed_heap();
    while_collecting(&heap, || compare_merges(&heap, 4, 4, 4000));
}

#[test]
fn a_dict_merges_with_itself() {
    let heap = calm_heap();
    let (dict, model) = some_dict(&heap, 300, 100, &mut StdRng::seed_from_u64(5));
    update(&heap, dict, dict);
    assert_eq!(entries(&heap, dict), model.items());
    let copy = union(&heap, dict, dict);
    assert_eq!(entries(&heap, copy), model.items());
}

#[test]
fn keys_that_equal_nothing_are_added_each_time() {
    let heap = calm_heap();
    let (left, right) = (keep(&heap, |op| dict::new(op, 0)), keep(&heap, |op| dict::new(op, 0)));
    let nan = Plain::float(f64::NAN);
    put(&heap, right, &nan, &Plain::Int(1));
    for expected in 1..=12 {
        update(&heap, left, right);
        assert_eq!(on(&heap, left, dict::len), expected);
    }
}

fn numbers(heap: &Heap, count: i64) -> Handle {
    let dict = keep(heap, |op| dict::new(op, 0));
    for i in 0..count {
        on(heap, dict, |op, object| dict::insert(op, object, &Key::Int(i), &Scalar::Int(-i)).map(drop));
    }
    dict
}

/// Readers see all of a merge or nothing, however it is done.
#[test]
fn no_reader_sees_half_a_merge() {
    let heap = stressed_heap();
    for (old, new) in [(0, 40), (0, 3000), (900, 1800), (2000, 3000)] {
        let (to, from) = (numbers(&heap, old), numbers(&heap, new));
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..100 {
                    update(&heap, to, from);
                    let fresh = numbers(&heap, old);
                    on(&heap, to, dict::clear);
                    update(&heap, to, fresh);
                    heap.drop_handle(fresh);
                }
                is_done.store(true, Ordering::Relaxed);
            });
            while !is_done.load(Ordering::Relaxed) {
                let len = on(&heap, to, dict::len) as i64;
                assert!([0, old, new].contains(&len), "{len} entries of {old} or {new}");
            }
        });
        heap.drop_handle(to);
        heap.drop_handle(from);
    }
}

#[test]
fn others_read_while_a_merge_goes_on_and_change_nothing() {
    let heap = calm_heap();
    let dict = numbers(&heap, 100);
    on(&heap, dict, |op, mut object| {
        op.claimed(&mut object, |op, object| {
            assert_eq!(dict::len(op, *object), Ok(100));
            assert!(dict::get(op, *object, &Key::Int(7))?.is_some());
            assert_eq!(dict::next(op, *object, 0)?.map(|(next, ..)| next), Some(1));
            assert_eq!(dict::insert(op, *object, &Key::Int(7), &Scalar::None), Err(Retry::Busy));
            assert_eq!(dict::remove(op, *object, &Key::Int(7)), Err(Retry::Busy));
            assert_eq!(dict::clear(op, *object), Err(Retry::Busy));
            Ok(())
        })
    });
    on(&heap, dict, dict::clear);
    assert_eq!(on(&heap, dict, dict::len), 0);
}

#[test]
fn a_merge_that_finds_no_room_changes_nothing() {
    let heap = Heap::new(Options { budget_bytes: 16 << 20, ..options() }).expect("a heap for a test");
    let (to, from) = (numbers(&heap, 50), numbers(&heap, 60_000));
    let (before, generation) = (entries(&heap, to), on(&heap, to, dict::shape));
    let hoard = keep(&heap, |op| list::new(op, 0));
    let fill = |op: &mut Op<'_>| {
        let hoard = op.handle_get(hoard);
        list::push(op, hoard, &Scalar::Bytes(&[1; 20_000]))
    };
    while heap.run(fill).is_ok() {}
    let mut merge = Merge::new(to, from);
    let refused = heap.run(|op| merge.update(op));
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    assert_eq!((entries(&heap, to), on(&heap, to, dict::shape)), (before, generation));
    on(&heap, hoard, list::clear);
    update(&heap, to, from);
    assert_eq!(on(&heap, to, dict::len), 60_000);
}

#[test]
fn what_is_not_wanted_stays() {
    let heap = calm_heap();
    let dict = numbers(&heap, 20);
    let changes = || on(&heap, dict, |op, dict| Ok(op.changes(dict)));
    let before = changes();
    for _ in 0..2 {
        assert_eq!(on(&heap, dict, |op, dict| dict::remove_if(op, dict, &Key::Int(3), |_, _, _| Ok(false))), None);
        assert_eq!(on(&heap, dict, |op, dict| dict::pop_last_if(op, dict, |_, _, _| Ok(false))), None);
    }
    assert_eq!((on(&heap, dict, dict::len), changes()), (20, before));
    check_table(&heap, dict);
}

#[test]
fn entries_are_listed_from_a_position_on() {
    let heap = stressed_heap();
    let (dict, model) = some_dict(&heap, 3000, 1500, &mut StdRng::seed_from_u64(6));
    let (_, _, used) = on(&heap, dict, dict::shape);
    for (position, backward) in
        [(0, false), (used / 2, false), (used, false), (used, true), (used / 2, true), (0, true)]
    {
        let wanted = Wanted { position, backward, keys: true, values: true };
        let listed = keep(&heap, |op| {
            let object = op.handle_get(dict);
            Ok(dict::entries(op, object, wanted)?.0)
        });
        let mut expected = Vec::new();
        let mut at = position;
        while let Some((next, key, value)) = on(&heap, dict, |op, object| {
            let found = if backward { dict::previous(op, object, at) } else { dict::next(op, object, at) };
            let Some((next, key, value)) = found? else { return Ok(None) };
            Ok(Some((next, Plain::read(op, key)?, Plain::read(op, value)?)))
        }) {
            expected.extend([Plain::Int(next as i64), key, value]);
            at = next;
        }
        let read = |i| {
            on(&heap, listed, |op, object| {
                let item = list::get(op, object, i)?;
                Plain::read_some(op, item)
            })
        };
        let found: Vec<_> = (0..).map_while(read).collect();
        assert_eq!(found, expected);
    }
    assert_eq!(entries(&heap, dict), model.items());
}
