use super::*;

/// zlib's checksum of the dictionary, which every peer names in its first block.
#[test]
fn the_dictionary_is_spdys() {
    let (mut a, mut b) = (1u32, 0u32);
    for byte in dictionary() {
        a = (a + u32::from(byte)) % 65521;
        b = (b + a) % 65521;
    }
    assert_eq!(b << 16 | a, 0xe3c6_a7c2);
}

#[test]
fn blocks_go_round_in_order_and_broken_ones_are_refused() {
    let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new());
    for n in 0..50 {
        let headers: Headers = vec![
            ("streamtype".into(), "data".into()),
            ("port".into(), n.to_string()),
            ("x".into(), "y".repeat(n * 100)),
        ];
        let mut block = Vec::new();
        packer.pack(&headers, &mut block).unwrap();
        assert_eq!(unpacker.unpack(&block).unwrap(), headers);
    }
    assert!(unpacker.unpack(b"no zlib").is_err());
    // A stream that ends takes nothing more: an error, and no end to wait for.
    let mut zlib = Compress::new(Compression::fast(), true);
    zlib.set_dictionary(&dictionary()).unwrap();
    let mut ended = Vec::with_capacity(100);
    zlib.compress_vec(&[0; 4], &mut ended, flate2::FlushCompress::Finish).unwrap();
    ended.extend(b"more");
    assert!(Unpacker::new().unpack(&ended).is_err());
    assert!(parse(&[0, 0, 0, 1, 0, 0, 0, 9, b'x']).is_err());
}
