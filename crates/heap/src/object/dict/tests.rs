mod merge;
mod oracle;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::table::Table;
use super::*;
use crate::mutator::Handle;
use crate::object::testing::{Plain, calm_heap, entries, keep, on, options, stressed_heap, while_collecting};
use crate::{Heap, Options};
use oracle::{Oracle, key_of_class, some_value};

fn put(heap: &Heap, dict: Handle, key: &Plain, value: &Plain) -> Option<Plain> {
    on(heap, dict, |op, object| {
        let old = insert(op, object, &key.key(), &value.scalar())?;
        Plain::read_some(op, old)
    })
}

fn take(heap: &Heap, dict: Handle, key: &Plain) -> Option<Plain> {
    on(heap, dict, |op, object| {
        let old = remove(op, object, &key.key())?;
        Plain::read_some(op, old)
    })
}

fn look_up(heap: &Heap, dict: Handle, key: &Plain) -> Option<Plain> {
    on(heap, dict, |op, object| {
        let value = get(op, object, &key.key())?;
        Plain::read_some(op, value)
    })
}

fn pop(heap: &Heap, dict: Handle) -> Option<(Plain, Plain)> {
    on(heap, dict, |op, object| {
        let Some((key, value)) = pop_last(op, object)? else { return Ok(None) };
        Ok(Some((Plain::read(op, key)?, Plain::read(op, value)?)))
    })
}

fn reversed(heap: &Heap, dict: Handle) -> Vec<(Plain, Plain)> {
    let mut found = Vec::new();
    let (_, _, mut position) = on(heap, dict, shape);
    while let Some((next, key, value)) = on(heap, dict, |op, object| {
        let Some((next, key, value)) = previous(op, object, position)? else { return Ok(None) };
        Ok(Some((next, Plain::read(op, key)?, Plain::read(op, value)?)))
    }) {
        found.push((key, value));
        position = next;
    }
    found
}

/// Capacity of the entries, and slots of the index.
fn room(heap: &Heap, dict: Handle) -> (usize, usize) {
    on(heap, dict, |op, object| {
        let table = Table::of(op, object);
        Ok((table.capacity(op), table.index.map_or(0, |index| index::slots(op, index))))
    })
}

/// What must hold of a table at all times, beyond what users see.
fn check_table(heap: &Heap, dict: Handle) {
    let table_now = |op: &mut Op<'_>, object| Ok(Table::of(op, object));
    let Table { len, used, .. } = on(heap, dict, table_now);
    let (capacity, slots) = room(heap, dict);
    assert!(len <= used && used <= capacity);
    assert!(used <= SMALL_MAX || slots >= index::slots_for(len), "{slots} slots for {len}");
    let mut live = 0;
    let mut indexed = 0;
    for start in (0..used.max(slots)).step_by(256) {
        on(heap, dict, |op, object| {
            let table = Table::of(op, object);
            for entry in (start..used.min(start + 256)).filter(|entry| table.is_live(op, *entry)) {
                assert_eq!(find::locate(op, &table, entry).slot.is_some(), table.index.is_some());
                live += 1;
            }
            if let Some(index) = table.index {
                indexed +=
                    (start..slots.min(start + 256)).filter(|slot| index::read(op, index, *slot).is_some()).count();
            }
            Ok(())
        });
    }
    assert_eq!(live, len);
    assert_eq!(indexed, if slots == 0 { 0 } else { len });
}

/// One step of both, compared.
fn step(heap: &Heap, dict: Handle, oracle: &mut Oracle, classes: usize, growth: u32, random: &mut StdRng) {
    let class = random.random_range(0..classes);
    let key = key_of_class(class, random);
    match random.random_range(0..100_u32) {
        roll if roll < growth => {
            let value = some_value(random);
            assert_eq!(put(heap, dict, &key, &value), oracle.insert(class, key, value));
        }
        0..60 => assert_eq!(take(heap, dict, &key), oracle.remove(class), "{key:?}"),
        60..80 => assert_eq!(look_up(heap, dict, &key), oracle.get(class), "{key:?}"),
        80..88 => {
            let default = some_value(random);
            let found = on(heap, dict, |op, object| {
                let value = get_or_insert(op, object, &key.key(), &default.scalar())?;
                Plain::read(op, value)
            });
            assert_eq!(found, oracle.get(class).unwrap_or(default.clone()));
            if oracle.get(class).is_none() {
                oracle.insert(class, key, default);
            }
        }
        88..94 => assert_eq!(pop(heap, dict), oracle.pop_last()),
        _ => {
            // Takes from the front, as a queue.
            let first = oracle.entries.first_key_value().map(|(_, entry)| entry.clone());
            if let Some((class, key, value)) = first {
                assert_eq!(entries_from(heap, dict, 0), Some((key.clone(), value.clone())));
                assert_eq!(take(heap, dict, &key), oracle.remove(class));
            }
        }
    }
    assert_eq!(on(heap, dict, len), oracle.entries.len());
}

fn entries_from(heap: &Heap, dict: Handle, position: usize) -> Option<(Plain, Plain)> {
    on(heap, dict, |op, object| {
        let Some((_, key, value)) = next(op, object, position)? else { return Ok(None) };
        Ok(Some((Plain::read(op, key)?, Plain::read(op, value)?)))
    })
}

fn compare_whole(heap: &Heap, dict: Handle, oracle: &Oracle) {
    check_table(heap, dict);
    let mut expected = oracle.items();
    assert_eq!(entries(heap, dict), expected);
    let copy = keep(heap, |op| {
        let object = op.handle_get(dict);
        copy(op, object)
    });
    check_table(heap, copy);
    assert_eq!(entries(heap, copy), expected);
    if let Some((key, value)) = expected.last() {
        assert_eq!(look_up(heap, copy, key).as_ref(), Some(value));
        assert_eq!(take(heap, copy, key).as_ref(), Some(value));
        assert_eq!(look_up(heap, dict, key).as_ref(), Some(value), "the copy is another dict");
    }
    heap.drop_handle(copy);
    expected.reverse();
    assert_eq!(reversed(heap, dict), expected);
}

/// Random operations in waves of growth and shrinkage, compared with the oracle all along.
fn drive(seed: u64, classes: usize, steps: usize) {
    let heap = stressed_heap();
    let random = &mut StdRng::seed_from_u64(seed);
    let dict = keep(&heap, |op| new(op, 0));
    let mut oracle = Oracle::default();
    while_collecting(&heap, || {
        for i in 0..steps {
            let growth = if (i / (4 * classes)).is_multiple_of(2) { 60 } else { 20 };
            step(&heap, dict, &mut oracle, classes, growth, random);
            if random.random_ratio(1, classes as u32 * 2 + 20) {
                compare_whole(&heap, dict, &oracle);
            }
            if random.random_ratio(1, classes as u32 * 20) {
                on(&heap, dict, clear);
                oracle = Oracle::default();
            }
        }
        compare_whole(&heap, dict, &oracle);
    });
    heap.close();
}

#[test]
fn a_small_dict_does_what_the_oracle_does() {
    for seed in 0..8 {
        drive(seed, 10, 3000);
    }
}

#[test]
fn a_dict_around_the_size_that_needs_an_index_does_what_the_oracle_does() {
    for seed in 0..4 {
        drive(100 + seed, 50, 6000);
    }
}

#[test]
fn a_large_dict_does_what_the_oracle_does() {
    drive(200, 4000, 60_000);
}

#[test]
fn the_first_form_of_a_key_stays() {
    let heap = calm_heap();
    let dict = keep(&heap, |op| new(op, 0));
    put(&heap, dict, &Plain::Int(1), &Plain::str("int"));
    put(&heap, dict, &Plain::str("x"), &Plain::None);
    assert_eq!(put(&heap, dict, &Plain::float(1.0), &Plain::str("float")), Some(Plain::str("int")));
    assert_eq!(put(&heap, dict, &Plain::Bool(true), &Plain::str("bool")), Some(Plain::str("float")));
    let expected = [(Plain::Int(1), Plain::str("bool")), (Plain::str("x"), Plain::None)];
    assert_eq!(entries(&heap, dict), expected);
}

#[test]
fn nobody_finds_a_nan_but_it_can_be_seen_and_popped() {
    let heap = calm_heap();
    let dict = keep(&heap, |op| new(op, 0));
    let nan = Plain::float(f64::NAN);
    let pair = Plain::Tuple(vec![Plain::Int(1), nan.clone()]);
    for i in 0..40 {
        put(&heap, dict, &Plain::Int(i), &Plain::None);
        assert_eq!(put(&heap, dict, &nan, &Plain::Int(i)), None);
        assert_eq!(put(&heap, dict, &pair, &Plain::Int(i)), None);
    }
    assert_eq!(on(&heap, dict, len), 120);
    assert_eq!(look_up(&heap, dict, &nan), None);
    assert_eq!(take(&heap, dict, &pair), None);
    for i in (0..40).rev() {
        assert_eq!(pop(&heap, dict), Some((pair.clone(), Plain::Int(i))));
        assert_eq!(pop(&heap, dict), Some((nan.clone(), Plain::Int(i))));
        assert_eq!(take(&heap, dict, &Plain::Int(i)), Some(Plain::None));
    }
    assert_eq!(pop(&heap, dict), None);
}

#[test]
fn a_record_of_four_fields_takes_120_bytes() {
    let heap = calm_heap();
    let bytes = |dict| {
        on(&heap, dict, |op, object| {
            let table = Table::of(op, object);
            let entries = table.entries.map_or(0, |entries| op.header(entries).bytes());
            Ok(op.header(object).bytes() + entries + table.index.map_or(0, |index| op.header(index).bytes()))
        })
    };
    for capacity in [0, 4] {
        let dict = keep(&heap, |op| new(op, capacity));
        for name in ["identifier", "name", "description", "tags"] {
            put(&heap, dict, &Plain::str(name), &Plain::None);
        }
        assert_eq!(bytes(dict), 120);
    }
    let empty = keep(&heap, |op| new(op, 0));
    assert_eq!(bytes(empty), 48);
}

#[test]
fn records_share_the_names_of_their_fields_whatever_large_dicts_do() {
    let heap = calm_heap();
    let first_key =
        |dict| on(&heap, dict, |op, object| Ok(Table::of(op, object).key(op, 0).as_ref().unwrap().offset()));
    let make = || {
        let dict = keep(&heap, |op| new(op, 1));
        put(&heap, dict, &Plain::str("description"), &Plain::None);
        dict
    };
    let one = make();
    let large = keep(&heap, |op| new(op, 0));
    for i in 0..30_000 {
        put(&heap, large, &Plain::str(&format!("a user named {i}")), &Plain::None);
    }
    assert_eq!(first_key(one), first_key(make()));
}

#[test]
fn churn_neither_grows_a_dict_nor_takes_quadratic_time() {
    let heap = calm_heap();
    let dict = keep(&heap, |op| new(op, 0));
    let (live, turns) = (10_000_i64, 200_000_i64);
    for i in 0..turns {
        put(&heap, dict, &Plain::Int(i), &Plain::Int(-i));
        if i >= live {
            // As a cache forgets its oldest entry: the gap in front is skipped at once.
            assert_eq!(entries_from(&heap, dict, 0), Some((Plain::Int(i - live), Plain::Int(live - i))));
            assert_eq!(take(&heap, dict, &Plain::Int(i - live)), Some(Plain::Int(live - i)));
        }
    }
    let (capacity, slots) = room(&heap, dict);
    assert!(capacity <= 2 * live as usize && slots <= 3 * live as usize, "{capacity} entries, {slots} slots");
    check_table(&heap, dict);
}

#[test]
fn gaps_in_the_middle_are_skipped_from_both_ends() {
    let heap = calm_heap();
    let random = &mut StdRng::seed_from_u64(7);
    let dict = keep(&heap, |op| new(op, 20_000));
    for i in 0..20_000 {
        put(&heap, dict, &Plain::Int(i), &Plain::None);
    }
    // All but the ends, in an order that makes runs meet in every way.
    let mut inner: Vec<i64> = (1..19_999).collect();
    while !inner.is_empty() {
        let key = inner.swap_remove(random.random_range(0..inner.len()));
        if inner.len() < 6000 {
            break;
        }
        assert_eq!(take(&heap, dict, &Plain::Int(key)), Some(Plain::None));
    }
    let left = entries(&heap, dict);
    assert_eq!(left.len(), on(&heap, dict, len));
    let mut backwards = reversed(&heap, dict);
    backwards.reverse();
    assert_eq!(left, backwards);
    check_table(&heap, dict);
}

#[test]
fn a_dict_gives_memory_back_when_most_of_it_is_removed() {
    let heap = calm_heap();
    let dict = keep(&heap, |op| new(op, 0));
    for i in 0..50_000 {
        put(&heap, dict, &Plain::Int(i), &Plain::None);
    }
    for i in 0..49_990 {
        take(&heap, dict, &Plain::Int(i));
    }
    let (capacity, slots) = room(&heap, dict);
    assert!(capacity < 100 && slots < 200, "{capacity} entries, {slots} slots");
    let expected: Vec<_> = (49_990..50_000).map(|i| (Plain::Int(i), Plain::None)).collect();
    assert_eq!(entries(&heap, dict), expected);
    while pop(&heap, dict).is_some() {}
    assert!(room(&heap, dict).0 <= SMALL_MAX);
}

#[test]
fn a_table_that_stays_large_shrinks_too_if_there_is_room_for_the_smaller_one() {
    let heap = calm_heap();
    let dict = keep(&heap, |op| new(op, 0));
    for i in 0..400_000 {
        put(&heap, dict, &Plain::Int(i), &Plain::None);
    }
    for i in 0..320_000 {
        take(&heap, dict, &Plain::Int(i));
    }
    let (capacity, slots) = room(&heap, dict);
    assert!(capacity < 200_000 && slots < 300_000, "{capacity} entries, {slots} slots");
    check_table(&heap, dict);
}

#[test]
fn only_what_changes_positions_changes_the_generation() {
    let heap = calm_heap();
    let dict = keep(&heap, |op| new(op, 0));
    let generation = || on(&heap, dict, shape).1;
    let at_first = generation();
    for i in 0..5000 {
        put(&heap, dict, &Plain::Int(i), &Plain::None);
    }
    take(&heap, dict, &Plain::Int(17));
    assert_eq!(generation(), at_first, "growth keeps positions");
    let before = generation();
    for i in 5000..10_000 {
        put(&heap, dict, &Plain::Int(i), &Plain::None);
    }
    assert_ne!(generation(), before, "the gap has closed");
    let before = generation();
    on(&heap, dict, clear);
    assert_ne!(generation(), before);
}

#[test]
fn a_position_is_used_again_only_after_its_entry_was_popped() {
    let heap = calm_heap();
    for len in [1, 3, 8, 9, 300] {
        let dict = keep(&heap, |op| new(op, 2 * len));
        (0..len as i64).for_each(|i| assert_eq!(put(&heap, dict, &Plain::Int(i), &Plain::None), None));
        let last = Plain::Int(len as i64 - 1);
        let before = on(&heap, dict, shape);
        take(&heap, dict, &last);
        put(&heap, dict, &last, &Plain::None);
        let after = on(&heap, dict, shape);
        let is_laid_out_anew = after.1 != before.1;
        assert!(is_laid_out_anew || after == (len, before.1, len + 1), "{len}: {before:?}, {after:?}");
        check_table(&heap, dict);
        pop(&heap, dict);
        put(&heap, dict, &last, &Plain::None);
        if !is_laid_out_anew {
            assert_eq!(on(&heap, dict, shape), after, "{len}");
        }
        check_table(&heap, dict);
    }
}

#[test]
fn a_copy_of_a_large_dict_is_whole() {
    let heap = stressed_heap();
    let dict = keep(&heap, |op| new(op, 0));
    for i in 0..60_000 {
        put(&heap, dict, &Plain::Int(i), &Plain::Int(-i));
    }
    for gaps in [false, true] {
        if gaps {
            (0..60_000).step_by(3).for_each(|i| assert!(take(&heap, dict, &Plain::Int(i)).is_some()));
        }
        let copied = keep(&heap, |op| {
            let object = op.handle_get(dict);
            copy(op, object)
        });
        check_table(&heap, copied);
        assert_eq!(entries(&heap, copied), entries(&heap, dict));
        assert!((0..60_000).all(|i| look_up(&heap, copied, &Plain::Int(i)) == look_up(&heap, dict, &Plain::Int(i))));
    }
}

#[test]
fn a_dict_may_hold_itself() {
    let heap = stressed_heap();
    let dict = keep(&heap, |op| new(op, 0));
    for i in 0..20 {
        on(&heap, dict, |op, object| insert(op, object, &Key::Int(i), &Scalar::Object(dict)).map(|_| ()));
    }
    let same = on(&heap, dict, |op, object| Ok(get(op, object, &Key::Int(19))? == Some(Value::reference(object))));
    assert!(same);
}

#[test]
fn threads_share_a_dict() {
    let heap = stressed_heap();
    let dict = keep(&heap, |op| new(op, 0));
    while_collecting(&heap, || {
        std::thread::scope(|scope| {
            for thread in 0..4_i64 {
                let heap = &heap;
                scope.spawn(move || {
                    for i in 0..3000 {
                        let key = Plain::Int(i * 4 + thread);
                        assert_eq!(put(heap, dict, &key, &Plain::str("a value of a thread")), None);
                        if i % 3 == 0 {
                            assert_eq!(take(heap, dict, &key), Some(Plain::str("a value of a thread")));
                        }
                    }
                });
            }
        });
    });
    assert_eq!(on(&heap, dict, len), 8000);
    check_table(&heap, dict);
}

#[test]
#[ignore = "takes a gigabyte"]
fn ten_million_entries() {
    let options = Options { budget_bytes: 4 << 30, verify: false, stress_bytes: None, ..options() };
    let heap = Heap::new(options).expect("a heap for a test");
    let dict = keep(&heap, |op| new(op, 0));
    let count = 10_000_000;
    let timed = |what: &str, run: &mut dyn FnMut()| {
        let start = std::time::Instant::now();
        run();
        println!("{what}: {:?} each", start.elapsed() / count as u32);
    };
    timed("insert", &mut || {
        for i in 0..count {
            on(&heap, dict, |op, object| insert(op, object, &Key::Int(i), &Scalar::Int(i)).map(|_| ()));
        }
    });
    timed("get", &mut || {
        for i in 0..count {
            let key = i * 7_919 % count;
            let found = on(&heap, dict, |op, object| get(op, object, &Key::Int(key)));
            assert_eq!(found, Value::small_int(key));
        }
    });
    timed("remove", &mut || {
        for i in 0..count {
            let found = on(&heap, dict, |op, object| remove(op, object, &Key::Int(i * 7_919 % count)));
            assert!(found.is_some());
        }
    });
    assert_eq!(on(&heap, dict, len), 0);
}
