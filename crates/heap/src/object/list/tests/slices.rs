use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{check_spare_room, read_all};
use crate::mutator::{Handle, Op, Retry};
use crate::object::list::{self, SHORT_MAX, Slice, Span};
use crate::object::scalar::Scalar;
use crate::object::testing::{Plain, calm_heap, keep, on, options, stressed_heap, while_collecting};
use crate::{Error, Heap, Options};

fn numbers(heap: &Heap, from: i64, count: usize) -> Handle {
    let list = keep(heap, |op| list::new(op, 0));
    for i in 0..count as i64 {
        on(heap, list, |op, object| list::push(op, object, &Scalar::Int(from + i)));
    }
    list
}

fn ints(heap: &Heap, list: Handle) -> Vec<i64> {
    let number = |item| if let Plain::Int(number) = item { number } else { panic!("{item:?} is no int") };
    read_all(heap, list).into_iter().map(number).collect()
}

/// What a slice means, item by item.
fn indices(slice: Slice, len: usize) -> Vec<usize> {
    let len = len as i128;
    let inside = |at: isize, low: i128, high: i128| {
        let at = at as i128;
        (if at < 0 { at + len } else { at }).clamp(low, high)
    };
    let (low, high) = if slice.step < 0 { (-1, len - 1) } else { (0, len) };
    let (mut at, stop) = (inside(slice.start, low, high), inside(slice.stop, low, high));
    let mut found = Vec::new();
    while if slice.step < 0 { at > stop } else { at < stop } {
        found.push(at as usize);
        at += slice.step as i128;
    }
    found
}

proptest! {
    #[test]
    fn a_slice_means_what_counting_says(
        start in prop_oneof![any::<isize>(), -30..30_isize],
        stop in prop_oneof![any::<isize>(), -30..30_isize],
        step in prop_oneof![1..9_isize, -9..0_isize],
        len in 0..25_usize,
    ) {
        let slice = Slice { start, stop, step };
        let span = slice.span(len);
        prop_assert_eq!((0..span.count).map(|i| span.at(i)).collect::<Vec<_>>(), indices(slice, len));
        prop_assert!(span.start <= len);
    }
}

#[test]
fn extreme_steps_mean_one_item() {
    for step in [isize::MAX, isize::MIN, isize::MIN + 1] {
        let slice = Slice { start: 3, stop: if step < 0 { isize::MIN } else { isize::MAX }, step };
        assert_eq!(slice.span(10), Span { start: 3, step, count: 1 });
    }
}

fn some_slice(random: &mut StdRng, len: usize) -> Slice {
    let bound = |random: &mut StdRng| random.random_range(-(len as i64) - 3..=len as i64 + 3) as isize;
    let step = [1, 1, 1, 2, 3, 7, -1, -2, -5][random.random_range(0..9)];
    Slice { start: bound(random), stop: bound(random), step }
}

fn compare_slices(heap: &Heap, seed: u64, rounds: usize, most: usize) {
    let random = &mut StdRng::seed_from_u64(seed);
    for round in 0..rounds {
        let len = random.random_range(0..=most);
        let (list, mut model) = (numbers(heap, 0, len), (0..len as i64).collect::<Vec<_>>());
        let slice = some_slice(random, len);
        let found = indices(slice, len);
        let copy = keep(heap, |op| {
            let list = op.handle_get(list);
            list::copy_slice(op, list, slice)
        });
        assert_eq!(ints(heap, copy), found.iter().map(|i| model[*i]).collect::<Vec<_>>());
        if round % 2 == 0 {
            on(heap, list, |op, object| list::delete_slice(op, object, slice));
            let mut i = 0;
            model.retain(|_| (!found.contains(&i), i += 1).0);
        } else {
            let given = if round % 3 == 0 { random.random_range(0..=most) } else { found.len() };
            let from = if round % 4 == 1 { list } else { numbers(heap, -1_000_000, given) };
            let new = ints(heap, from);
            let assigned = on(heap, list, |op, object| list::assign_slice(op, object, slice, from));
            if slice.step == 1 {
                let start = slice.span(len).start;
                assert_eq!(assigned, Ok(()));
                model.splice(start..start + found.len(), new);
            } else if new.len() == found.len() {
                assert_eq!(assigned, Ok(()));
                found.iter().zip(new).for_each(|(i, value)| model[*i] = value);
            } else {
                assert_eq!(assigned, Err((new.len(), found.len())));
            }
        }
        assert_eq!(ints(heap, list), model, "{slice:?} of {len}");
        check_spare_room(heap, list);
        heap.drop_handle(copy);
        heap.drop_handle(list);
    }
}

#[test]
fn slices_of_short_lists_do_as_in_a_model() {
    compare_slices(&calm_heap(), 1, 300, 40);
}

#[test]
fn slices_of_long_lists_do_as_in_a_model() {
    compare_slices(&calm_heap(), 2, 12, 3 * SHORT_MAX);
}

#[test]
fn slices_do_as_in_a_model_while_objects_move() {
    let heap = stressed_heap();
    while_collecting(&heap, || compare_slices(&heap, 3, 8, 3 * SHORT_MAX));
}

#[test]
fn lists_are_joined_and_repeated() {
    let heap = stressed_heap();
    for len in [0, 1, 5, SHORT_MAX / 2, SHORT_MAX + 1] {
        let (left, right) = (numbers(&heap, 0, len), numbers(&heap, 100, len / 2));
        let both = keep(&heap, |op| list::concat(op, left, right));
        let mut model = [ints(&heap, left), ints(&heap, right)].concat();
        assert_eq!(ints(&heap, both), model);
        let twice = keep(&heap, |op| list::concat(op, left, left));
        assert_eq!(ints(&heap, twice), ints(&heap, left).repeat(2));
        for times in [1, 3, 2, 0] {
            heap.run(|op| list::repeat(op, both, times)).expect("room for a list");
            model = model.repeat(times);
            assert_eq!(ints(&heap, both), model);
            check_spare_room(&heap, both);
        }
    }
}

#[test]
fn positions_to_insert_at_are_counted_as_in_python() {
    let heap = calm_heap();
    let list = numbers(&heap, 0, 3);
    for (at, value) in [(0, 10), (-1, 11), (100, 12), (-100, 13), (isize::MIN, 14), (isize::MAX, 15)] {
        on(&heap, list, |op, object| list::insert_at(op, object, at, &Scalar::Int(value)));
    }
    assert_eq!(ints(&heap, list), [14, 13, 10, 0, 1, 11, 2, 12, 15]);
}

#[test]
fn a_list_that_was_changed_is_not_replaced() {
    let heap = calm_heap();
    let list = numbers(&heap, 0, 10);
    let snapshot = |op: &mut Op<'_>| {
        let object = op.handle_get(list);
        let (copy, changes) = list::snapshot(op, object, Slice::ALL)?;
        Ok((op.handle_new(copy)?, changes))
    };
    let (copy, changes) = heap.run(snapshot).expect("room for a list");
    on(&heap, copy, list::reverse);
    // As long as before, but not the same.
    on(&heap, list, |op, object| list::set(op, object, 0, &Scalar::Int(77)).map(drop));
    let replace = |changes| {
        on(&heap, list, |op, object| {
            let copy = op.handle_get(copy);
            list::replace_unchanged(op, object, changes, copy)
        })
    };
    assert!(!replace(changes));
    assert_eq!(ints(&heap, list)[0], 77);
    let now = on(&heap, list, |op, object| Ok(op.changes(object)));
    assert!(replace(now));
    assert_eq!(ints(&heap, list), (0..10).rev().collect::<Vec<_>>());
    assert_eq!(on(&heap, copy, list::len), 0);
}

#[test]
fn what_is_not_wanted_stays() {
    let heap = calm_heap();
    let list = numbers(&heap, 0, 5);
    assert_eq!(on(&heap, list, |op, list| list::remove_if(op, list, 1, |_, _, _| Ok(false))), None);
    assert_eq!(ints(&heap, list), [0, 1, 2, 3, 4]);
}

#[test]
fn others_read_while_a_long_change_goes_on_and_change_nothing() {
    let heap = calm_heap();
    let list = numbers(&heap, 0, 100);
    on(&heap, list, |op, mut object| {
        op.claimed(&mut object, |op, object| {
            assert_eq!(list::len(op, *object), Ok(100));
            assert!(list::get(op, *object, 7)?.is_some());
            assert_eq!(list::push(op, *object, &Scalar::None), Err(Retry::Busy));
            assert_eq!(list::remove(op, *object, 7), Err(Retry::Busy));
            assert_eq!(list::clear(op, *object), Err(Retry::Busy));
            Ok(())
        })
    });
    assert_eq!(on(&heap, list, list::len), 100);
}

/// Objects move while items are removed, and a list that has nothing to give is not followed: it must not be claimed, or would be for ever.
#[test]
fn a_list_that_has_nothing_to_give_is_nobodys_afterwards() {
    let heap = stressed_heap();
    let (list, all, nothing) = (numbers(&heap, 0, 0), numbers(&heap, 0, 3 * SHORT_MAX), numbers(&heap, 0, 0));
    while_collecting(&heap, || {
        for _ in 0..200 {
            on(&heap, list, |op, object| list::splice_from(op, object, 0, usize::MAX, all, usize::MAX));
            on(&heap, list, |op, object| list::splice_from(op, object, 10, 5, nothing, usize::MAX));
            assert_eq!(on(&heap, list, list::len), 3 * SHORT_MAX - 5);
            let held = heap.run(|op| {
                let mut object = op.handle_get(nothing);
                Ok(op.locked(&mut object, |_, _| Ok(())))
            });
            assert_eq!(held.expect("an open heap"), Ok(()), "nobody else uses the list");
        }
    });
}

/// Readers see all of a change or nothing, however it is done.
#[test]
fn no_reader_sees_half_a_change() {
    let heap = stressed_heap();
    for len in [50, SHORT_MAX + 500] {
        let (list, from) = (numbers(&heap, 0, 0), numbers(&heap, 0, len));
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..200 {
                    on(&heap, list, |op, object| list::splice_from(op, object, 0, 0, from, usize::MAX));
                    heap.run(|op| list::repeat(op, list, 2)).expect("room for a list");
                    let half = Slice { step: 2, ..Slice::ALL };
                    on(&heap, list, |op, object| list::delete_slice(op, object, half));
                    on(&heap, list, |op, object| list::splice_from(op, object, 0, usize::MAX, from, 1));
                    on(&heap, list, list::clear);
                }
                is_done.store(true, Ordering::Relaxed);
            });
            while !is_done.load(Ordering::Relaxed) {
                let seen = on(&heap, list, list::len);
                assert!([0, 1, len, 2 * len].contains(&seen), "{seen} items of {len}");
            }
        });
    }
}

#[test]
fn a_long_change_that_finds_no_room_changes_nothing() {
    let heap = Heap::new(Options { budget_bytes: 16 << 20, ..options() }).expect("a heap for a test");
    let list = numbers(&heap, 0, 40_000);
    let before = ints(&heap, list);
    let hoard = keep(&heap, |op| list::new(op, 0));
    let fill = |op: &mut Op<'_>| {
        let hoard = op.handle_get(hoard);
        list::push(op, hoard, &Scalar::Bytes(&[1; 20_000]))
    };
    while heap.run(fill).is_ok() {}
    assert!(matches!(heap.run(|op| list::repeat(op, list, 50)), Err(Error::Full { .. })));
    assert_eq!(ints(&heap, list), before);
    // To remove needs no room.
    on(&heap, list, |op, object| list::delete_slice(op, object, Slice { step: 2, ..Slice::ALL }));
    assert_eq!(ints(&heap, list), before.into_iter().filter(|i| i % 2 == 1).collect::<Vec<_>>());
}
