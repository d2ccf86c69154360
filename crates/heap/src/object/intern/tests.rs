use super::*;
use crate::Heap;
use crate::object::key::hash_bytes;
use crate::object::testing::{calm_heap, stressed_heap};

fn share_now(heap: &Heap, text: &str) -> u64 {
    let shared = heap.run(|op| {
        let hash = hash_bytes(op, text.as_bytes());
        let value = share(op, Interned::Values, text.as_bytes(), hash)?;
        let object = value.as_ref().expect("a leaf");
        assert_eq!(op.raw(object), text.as_bytes());
        Ok(object.offset())
    });
    shared.expect("room for a test's string")
}

fn is_held(heap: &Heap, text: &str) -> bool {
    let found = heap.run(|op| {
        let hash = hash_bytes(op, text.as_bytes());
        let interner = op.interner(Interned::Values);
        Ok(find_in_set(op, interner, first_slot(op, interner, hash), text.as_bytes()).is_some())
    });
    found.expect("a test's operation")
}

#[test]
fn equal_strings_are_one() {
    let heap = calm_heap();
    assert!(!is_held(&heap, "a string"));
    assert_eq!(share_now(&heap, "a string"), share_now(&heap, "a string"));
    assert!(is_held(&heap, "a string"));
    assert_ne!(share_now(&heap, "a string"), share_now(&heap, "another string"));
}

#[test]
fn strings_in_use_survive_a_flood_of_others() {
    let heap = calm_heap();
    let names: Vec<_> = (0..200).map(|i| format!("name number {i}")).collect();
    for _ in 0..3 {
        for name in &names {
            share_now(&heap, name);
        }
    }
    for i in 0..100_000 {
        share_now(&heap, &format!("seen once: {i}"));
    }
    let kept = names.iter().filter(|name| is_held(&heap, name)).count();
    assert!(kept >= 190, "{kept} of 200");
}

#[test]
fn strings_that_come_later_find_their_way_in() {
    let heap = calm_heap();
    for i in 0..50_000 {
        share_now(&heap, &format!("of yesterday: {i}"));
    }
    for _ in 0..3 {
        for i in 0..100 {
            share_now(&heap, &format!("of today: {i}"));
        }
    }
    let kept = (0..100).filter(|i| is_held(&heap, &format!("of today: {i}"))).count();
    assert!(kept >= 90, "{kept} of 100");
}

#[test]
fn threads_never_get_another_string() {
    let heap = stressed_heap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let heap = &heap;
            // `share_now` checks what it gets.
            scope.spawn(move || {
                for i in 0..20_000 {
                    share_now(heap, &format!("text {}", i * thread % 9000));
                }
            });
        }
    });
}
