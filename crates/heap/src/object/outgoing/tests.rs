use super::*;
use crate::object::testing::{calm_heap, keep};
use crate::object::{Scalar, dict, list, tuple};

#[test]
fn containers_come_out_as_handles_to_themselves() {
    let heap = calm_heap();
    for (kind, handle) in [
        (Kind::Dict, keep(&heap, |op| dict::new(op, 0))),
        (Kind::List, keep(&heap, |op| list::new(op, 0))),
        (Kind::Tuple, keep(&heap, |op| tuple::new(op, 3))),
    ] {
        let same = heap.run(|op| {
            let value = Value::reference(op.handle_get(handle));
            match outgoing(op, value)? {
                Outgoing::Container(found, new) => Ok(found == kind && new != handle && op.same(new, handle)),
                other => panic!("{other:?}"),
            }
        });
        assert!(same.expect("room for a handle"));
    }
}

#[test]
fn ints_come_out_narrow_if_they_can() {
    let heap = calm_heap();
    let taken_out = |scalar: Scalar<'_>| {
        let result = heap.run(|op| {
            let value = scalar.materialise(op)?;
            outgoing(op, value)
        });
        result.expect("room for a test's int")
    };
    assert!(matches!(taken_out(Scalar::Int(i64::MAX)), Outgoing::Int(i64::MAX)));
    assert!(matches!(taken_out(Scalar::Big(&[0; 8])), Outgoing::Int(0)));
    let wide = [0, 0, 0, 0, 0, 0, 0, 0x80, 0];
    assert!(matches!(taken_out(Scalar::Big(&wide)), Outgoing::Big(bytes) if bytes[..] == wide));
}

#[test]
#[should_panic(expected = "no user's value")]
fn an_unused_slot_never_comes_out() {
    let _ = calm_heap().run(|op| outgoing(op, Value::EMPTY));
}
