//! Whatever happens to the frames of an object is told, and nothing unverified comes out.

use std::future::poll_fn;

use proptest::prelude::*;

use super::*;

struct Pieces(Vec<Bytes>);

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(if self.0.is_empty() { None } else { Some(Ok(self.0.remove(0))) })
    }
}

fn stream(bytes: &[u8], piece: usize) -> ByteStream {
    Box::pin(Pieces(bytes.chunks(piece.max(1)).map(Bytes::copy_from_slice).collect()))
}

fn drain(mut stream: impl Stream<Item = Result<Bytes>> + Unpin) -> Result<Vec<u8>> {
    pollster::block_on(async {
        let mut all = Vec::new();
        while let Some(piece) = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    })
}

fn keys() -> SealKeys {
    SealKeys::new("k1", [3; 32])
}

fn key(name: &str) -> XComKey {
    XComKey::new("d", "r", "t", -1, name).unwrap()
}

fn object() -> ObjectName {
    ObjectName::listed("object")
}

fn version(n: i64) -> Version {
    Version::from_code(n).unwrap()
}

const LAYOUTS: [Layout; 4] = [
    Layout { compress: false, encrypt: false },
    Layout { compress: true, encrypt: false },
    Layout { compress: false, encrypt: true },
    Layout { compress: true, encrypt: true },
];

fn encode(plain: &[u8], piece: usize, layout: Layout) -> Vec<u8> {
    drain(Encoder::new(stream(plain, piece), &keys(), "k1", &key("k"), version(1), layout).unwrap()).unwrap()
}

fn decode_as(stored: &[u8], piece: usize, name: &str, at: i64) -> Result<Vec<u8>> {
    drain(Decoder::new(stream(stored, piece), keys(), key(name), version(at), object()))
}

fn decode(stored: &[u8]) -> Result<Vec<u8>> {
    decode_as(stored, 70_001, "k", 1)
}

/// Where each frame begins and ends.
fn ranges_of(stored: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut at = MAGIC.len() + 3;
    let mut ranges = Vec::new();
    while at < stored.len() {
        let head = u32::from_le_bytes(stored[at..at + 4].try_into().unwrap());
        let seal = if head & ENCRYPTED == 0 { MAC_BYTES } else { Cipher::TAG_BYTES };
        let end = at + 4 + (head & LENGTH) as usize + seal;
        ranges.push(at..end);
        at = end;
    }
    ranges
}

/// Three and a half frames that differ.
fn long() -> Vec<u8> {
    (0..FRAME_BYTES * 7 / 2).map(|i| (i / 1000 % 251) as u8).collect()
}

#[test]
fn sizes_around_a_frame_come_back() {
    for size in [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES] {
        let plain: Vec<u8> = (0..size).map(|i| (i * 7 % 256) as u8).collect();
        for layout in LAYOUTS {
            let stored = encode(&plain, 65_536, layout);
            assert_eq!(ranges_of(&stored).len(), size.div_ceil(FRAME_BYTES).max(1), "{size}");
            assert_eq!(decode(&stored).unwrap(), plain, "{size}");
        }
    }
}

#[test]
fn moved_frames_are_found_out() {
    LAYOUTS.into_iter().for_each(moved);
}

fn moved(layout: Layout) {
    let stored = encode(&long(), 100_000, layout);
    let ranges = ranges_of(&stored);
    assert_eq!(ranges.len(), 4);
    let head = &stored[..ranges[0].start];
    let of = |order: &[usize]| {
        let mut object = head.to_vec();
        order.iter().for_each(|&i| object.extend_from_slice(&stored[ranges[i].clone()]));
        object
    };
    assert_eq!(decode(&of(&[0, 1, 2, 3])).unwrap(), long());
    for (order, found) in [
        (&[1, 0, 2, 3][..], "seal of frame 0"),
        (&[0, 2, 1, 3], "seal of frame 1"),
        (&[0, 0, 1, 2, 3], "seal of frame 1"),
        (&[0, 1, 3], "seal of frame 2"),
        (&[0, 1, 2], "truncated: it ends within frame 3"),
        (&[], "truncated: it ends within frame 0"),
        (&[0, 1, 2, 3, 3], "behind its last frame"),
    ] {
        let error = decode(&of(order)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(found), "{order:?}: {error}");
    }
    assert_eq!(decode_as(&stored, 9999, "other", 1).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(decode_as(&stored, 9999, "k", 2).unwrap_err().kind(), ErrorKind::Corrupt);
    let strange = SealKeys::new("k2", [3; 32]);
    let decoder = Decoder::new(stream(&stored, 99), strange, key("k"), version(1), object());
    let error = drain(decoder).unwrap_err();
    assert!(error.to_string().contains("`k1`"), "{error}");
}

#[test]
fn what_is_encrypted_cannot_be_read() {
    let plain = b"a password, a password, a password".repeat(9);
    for layout in LAYOUTS {
        let stored = encode(&plain, 7, layout);
        let shown = stored.windows(10).any(|piece| piece == b"a password");
        assert_eq!(shown, !layout.encrypt, "{layout:?}");
    }
    // The same text at another place looks entirely different.
    let at = |version| {
        let (keys, layout) = (keys(), Layout { compress: false, encrypt: true });
        drain(Encoder::new(stream(&plain, 99), &keys, "k1", &key("k"), version, layout).unwrap()).unwrap()
    };
    let (one, two) = (at(version(1)), at(version(2)));
    let same = one.iter().zip(&two).skip(MAGIC.len() + 7).filter(|(a, b)| a == b).count();
    assert!(same < plain.len() / 16, "{same} of {} bytes", plain.len());
}

/// The vectors of the format's description hold.
#[test]
fn the_vectors_of_the_description() {
    let description = include_str!("../../../../docs/stored-bytes.md");
    let key = XComKey::new("weather", "manual__2026-11-21T10:00:00", "read", 3, "rows").unwrap();
    let (version, keys) = (version(0x0123_4567_89ab_cdef), SealKeys::new("k1", [7; 32]));
    for encrypt in [false, true] {
        let layout = Layout { compress: false, encrypt };
        let stored =
            drain(Encoder::new(stream(b"[1,2]", 5), &keys, "k1", &key, version, layout).unwrap()).unwrap();
        let hex: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(description.contains(&format!("`{hex}`")), "{layout:?}: {hex}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_damage_goes_unseen(
        plain in prop::collection::vec(any::<u8>(), 0..5000),
        at in any::<prop::sample::Index>(), flip in 1u8..,
        cut in any::<prop::sample::Index>(), piece in 1usize..3000,
        compress in any::<bool>(), encrypt in any::<bool>(),
    ) {
        let stored = encode(&plain, piece, Layout { compress, encrypt });
        prop_assert_eq!(decode_as(&stored, piece, "k", 1).unwrap(), plain);
        let mut altered = stored.clone();
        altered[at.index(stored.len())] ^= flip;
        prop_assert!(decode(&altered).is_err());
        prop_assert!(decode(&stored[..cut.index(stored.len())]).is_err());
        let mut longer = stored;
        longer.push(flip);
        prop_assert!(decode(&longer).is_err());
    }
}

proptest! {
    // Each has some MiB to seal.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Two objects that hold the same value, of two keys or two versions of one: no frame of one serves the other,
    /// and none serves another place in its own.
    #[test]
    fn a_frame_fits_its_own_place_only(
        names in prop::array::uniform2(r"[ab:{}/.%~ é]{1,3}"), versions in prop::array::uniform2(1..3i64),
        frames in 1usize..4, picks in prop::collection::vec((0..2usize, 0..3usize), 1..5), straight in any::<bool>(),
        layout in prop::sample::select(&LAYOUTS),
    ) {
        prop_assume!((&names[0], versions[0]) != (&names[1], versions[1]));
        let plain = vec![7; FRAME_BYTES * (frames - 1) + 1];
        let stored = [0, 1].map(|i| {
            let (keys, key) = (keys(), key(&names[i]));
            let plain = stream(&plain, FRAME_BYTES);
            drain(Encoder::new(plain, &keys, &keys.current_id(), &key, version(versions[i]), layout).unwrap()).unwrap()
        });
        // In order, but for what is taken from elsewhere: the mistakes that are hardest to see.
        let picks = picks.into_iter().enumerate().take(frames);
        let picks: Vec<(usize, usize)> =
            picks.map(|(i, (object, at))| (object, if straight { i } else { at % frames })).collect();
        let mut object = stored[0][..ranges_of(&stored[0])[0].start].to_vec();
        for (from, at) in &picks {
            object.extend_from_slice(&stored[*from][ranges_of(&stored[*from])[*at].clone()]);
        }
        let whole = picks.iter().copied().eq((0..frames).map(|i| (0, i)));
        match decode_as(&object, 300_000, &names[0], versions[0]) {
            Ok(read) => prop_assert!(whole && read == plain, "{:?}", picks),
            Err(error) => prop_assert!(!whole && error.kind() == ErrorKind::Corrupt, "{:?}: {}", picks, error),
        }
    }
}
