use super::*;
use crate::object::testing::{keep, stressed_heap, while_collecting};
use crate::object::{Outgoing, list, outgoing};

/// Bytes that differ everywhere.
fn content(len: usize) -> Vec<u8> {
    let mut word = 7_u32;
    let byte = |_| {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (word >> 24) as u8
    };
    (0..len).map(byte).collect()
}

fn written(heap: &Heap, kind: Kind, bytes: &[u8]) -> Handle {
    let leaf = keep(heap, |op| new(op, kind, bytes.len()));
    heap.write_leaf(leaf, bytes).expect("an open heap");
    leaf
}

fn read(heap: &Heap, leaf: Handle, len: usize) -> Vec<u8> {
    let mut found = Vec::new();
    heap.read_leaf(leaf, len, |piece| {
        assert!(piece.len() <= PIECE_BYTES);
        found.extend_from_slice(piece);
    })
    .expect("an open heap");
    found
}

#[test]
fn what_is_long_goes_in_and_out_in_pieces_while_everything_moves() {
    let heap = stressed_heap();
    let kept = keep(&heap, |op| list::new(op, 0));
    while_collecting(&heap, || {
        for len in [LONG_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES + 5, 1 << 20] {
            let bytes = content(len);
            let leaf = written(&heap, Kind::Bytes, &bytes);
            let push = |op: &mut Op<'_>| {
                let object = op.handle_get(kept);
                list::push(op, object, &Scalar::Object(leaf))
            };
            heap.run(push).expect("room for an item");
            assert!(read(&heap, leaf, len) == bytes);
            let whole = heap.run(|op| {
                let value = Value::reference(op.handle_get(leaf));
                outgoing(op, value)
            });
            assert!(matches!(whole, Ok(Outgoing::Bytes(found)) if found[..] == bytes[..]));
            heap.drop_private(leaf, 0);
        }
    });
    heap.verify().expect("a whole heap");
}

#[test]
fn only_what_is_longer_than_a_piece_or_two_is_long() {
    let short = content(LONG_BYTES);
    assert_eq!(Scalar::Bytes(&short).long(), None);
    assert_eq!(Scalar::Int(5).long(), None);
    let long = content(LONG_BYTES + 1);
    for (scalar, kind) in
        [(Scalar::Bytes(&long), Kind::Bytes), (Scalar::Str(&long), Kind::Str), (Scalar::Big(&long), Kind::BigInt)]
    {
        assert_eq!(scalar.long().map(|(kind, bytes)| (kind, bytes.len())), Some((kind, long.len())));
    }
    // A sign that is repeated says nothing.
    let mut padded = content(100);
    padded.extend(std::iter::repeat_n(if padded[99] & 0x80 == 0 { 0 } else { 0xff }, LONG_BYTES));
    assert_eq!(Scalar::Big(&padded).long(), None);
}

#[test]
fn a_stored_value_is_long_if_its_leaf_is() {
    let heap = stressed_heap();
    for len in [0, 10, LONG_BYTES, LONG_BYTES + 1] {
        let bytes = content(len);
        let found = heap.run(|op| {
            let value = Scalar::Bytes(&bytes).materialise(op)?;
            Ok(stored(op, value).map(|(kind, _, len)| (kind, len)))
        });
        let expected = (len > LONG_BYTES).then_some((Kind::Bytes, len));
        assert_eq!(found.expect("room for bytes"), expected);
    }
}
