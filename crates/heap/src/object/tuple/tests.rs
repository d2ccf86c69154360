use super::*;
use crate::object::testing::{Plain, calm_heap, keep, on, stressed_heap};

#[test]
fn a_new_tuple_is_all_none() {
    let heap = stressed_heap();
    for n in [0, 1, 2000] {
        let tuple = keep(&heap, |op| new(op, n));
        let items = on(&heap, tuple, |op, object| Ok((0..=n).map(|i| get(op, object, i)).collect::<Vec<_>>()));
        assert!(items[..n].iter().all(|item| *item == Some(Value::NONE)));
        assert_eq!(items[n], None);
        assert_eq!(on(&heap, tuple, |op, object| Ok(len(op, object))), n);
    }
}

#[test]
fn a_tuple_holds_what_it_was_given() {
    let heap = calm_heap();
    let items = [Plain::str("a string that is not short"), Plain::Int(1), Plain::float(f64::MAX), Plain::Bool(false)];
    let tuple = keep(&heap, |op| new(op, items.len()));
    for (i, item) in items.iter().enumerate() {
        on(&heap, tuple, |op, object| init(op, object, i, &item.scalar()));
    }
    let read = on(&heap, tuple, |op, object| Plain::read(op, Value::reference(object)));
    assert_eq!(read, Plain::Tuple(items.to_vec()));
}

#[test]
#[should_panic(expected = "a tuple of 2 items has no item 2")]
fn there_is_nothing_to_set_behind_the_end() {
    let heap = calm_heap();
    let tuple = keep(&heap, |op| new(op, 2));
    on(&heap, tuple, |op, object| init(op, object, 2, &Scalar::None));
}
