"""Edges of signatures and keys, with the verdict that every node must give. `proofs.self_test` runs them at start.

The signatures are from C2SP/CCTV (BSD-3-Clause) and C2SP/wycheproof (Apache-2.0), whose licences stand beside the full
sets in tests/vectors. Each row differs from an ordinary one in a way that some real library judges otherwise.
"""

from typing import Final

EDGES: Final[tuple[tuple[str, int, str, str, str, bool], ...]] = (
    # name, algorithm, public key, message, signature, good
    (
        "an ordinary signature (CCTV 305)",
        -8,
        "ef75b20e7540e3dff77404193652ba2bd13df99c1508eee1515e27ae25f28076",
        "65643235353139766563746f72732035",
        "b62cf890de42c413b11b1411c9f01f1c4d77aa87ef182258d1251f69af2a3506"
        "40657f1cb030f12543549bbabd848dc6403d354e7c99c4d0dcee9f63c9033b00",
        True,
    ),
    (
        "key and R of mixed order, equation holds without cofactor (CCTV 7)",
        -8,
        "10eb7c3acfb2bed3e0d6ab89bf5a3d6afddd1176ce4812e38d9fd485058fdb1f",
        "65643235353139766563746f7273",
        "36684ea91032ba5b1dbab2d02f4debc74c3327f2b3802e2e4d371aa42b12b56b"
        "bbfd00bd9c259d8d222d15e67a3d8228585050dbb9b9585be20d8fadc721da03",
        True,
    ),
    (
        "key of mixed order, equation holds without cofactor (CCTV 50)",
        -8,
        "10eb7c3acfb2bed3e0d6ab89bf5a3d6afddd1176ce4812e38d9fd485058fdb1f",
        "65643235353139766563746f72732035",
        "b62cf890de42c413b11b1411c9f01f1c4d77aa87ef182258d1251f69af2a3506"
        "08f32d206a7c0b7efa9a59e66546e8f1f599ef843fb502c9cc3c4ae8b7c11e05",
        True,
    ),
    (
        "OpenSSL accepts, R of small order (CCTV 304)",
        -8,
        "ef75b20e7540e3dff77404193652ba2bd13df99c1508eee1515e27ae25f28076",
        "65643235353139766563746f72732037",
        "0100000000000000000000000000000000000000000000000000000000000000"
        "330b30d6c1f07511e2208d233b6a34d4ed7109da2dea615bcd97daee3a842704",
        False,
    ),
    (
        "OpenSSL accepts, key of small order (CCTV 1)",
        -8,
        "0000000000000000000000000000000000000000000000000000000000000000",
        "65643235353139766563746f7273203131",
        "0000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000",
        False,
    ),
    (
        "OpenSSL accepts, key of small order, ordinary R (CCTV 3)",
        -8,
        "0000000000000000000000000000000000000000000000000000000000000000",
        "65643235353139766563746f72732033",
        "36684ea91032ba5b1dbab2d02f4debc74c3327f2b3802e2e4d371aa42b12b56b"
        "05ba9a796274d80437afa36f1236563f2f3b0aa84cecddc3d20914615ba4fe02",
        False,
    ),
    (
        "key not canonical (CCTV 10)",
        -8,
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "65643235353139766563746f72732034",
        "36684ea91032ba5b1dbab2d02f4debc74c3327f2b3802e2e4d371aa42b12b56b"
        "05ba9a796274d80437afa36f1236563f2f3b0aa84cecddc3d20914615ba4fe02",
        False,
    ),
    (
        "R not canonical (CCTV 16)",
        -8,
        "10eb7c3acfb2bed3e0d6ab89bf5a3d6afddd1176ce4812e38d9fd485058fdb1f",
        "65643235353139766563746f72732036",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
        "1cb421dfbd92aa6c30d550bff53c81cf650ace6deb96a8ec22d2fef84dbbe20b",
        False,
    ),
    (
        "equation holds only with cofactor (CCTV 6)",
        -8,
        "10eb7c3acfb2bed3e0d6ab89bf5a3d6afddd1176ce4812e38d9fd485058fdb1f",
        "65643235353139766563746f7273203130",
        "36684ea91032ba5b1dbab2d02f4debc74c3327f2b3802e2e4d371aa42b12b56b"
        "c02e2b9e63e385c058bf62b14b3a2b29ccefe8e38ddb536bc3f9865320a3d801",
        False,
    ),
    (
        "Valid (Wycheproof Ed25519 1)",
        -8,
        "7d4d0e7f6153a69b6242b522abbee685fda4420f8834b108c3bdae369ef549fa",
        "",
        "d4fbdb52bfa726b44d1786a8c0d171c3e62ca83c9e5bbe63de0bb2483f8fd6cc"
        "1429ab72cafc41ab56af02ff8fcc43b99bfe4c7ae940f60f38ebaa9d311c4007",
        True,
    ),
    (
        "special values for r and s (Wycheproof Ed25519 10)",
        -8,
        "7d4d0e7f6153a69b6242b522abbee685fda4420f8834b108c3bdae369ef549fa",
        "3f",
        "0000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000",
        False,
    ),
    (
        "empty signature (Wycheproof Ed25519 30)",
        -8,
        "7d4d0e7f6153a69b6242b522abbee685fda4420f8834b108c3bdae369ef549fa",
        "54657374",
        "",
        False,
    ),
    (
        "signature too long (Wycheproof Ed25519 33)",
        -8,
        "7d4d0e7f6153a69b6242b522abbee685fda4420f8834b108c3bdae369ef549fa",
        "54657374",
        "7c38e026f29e14aabd059a0f2db8b0cd783040609a8be684db12f82a27774ab0"
        "7a9155711ecfaf7f99f277bad0c6ae7e39d4eef676573336a5c51eb6f946b30d"
        "2020",
        False,
    ),
    (
        "removing 0 byte from signature (Wycheproof Ed25519 38)",
        -8,
        "7d4d0e7f6153a69b6242b522abbee685fda4420f8834b108c3bdae369ef549fa",
        "546573743137",
        "93de3ca252426c95f735cb9edd92e83321ac62372d5aa5b379786bae111ab6b1"
        "7251330e8f9a7c30d6993137c596007d7b001409287535ac4804e662bc58a3",
        False,
    ),
    (
        "modified bit 0 in R.. (Wycheproof Ed25519 42)",
        -8,
        "7d4d0e7f6153a69b6242b522abbee685fda4420f8834b108c3bdae369ef549fa",
        "313233343030",
        "647c1492402ab5ce03e2c3a7f0384d051b9cf3570f1207fc78c1bcc98c281c2b"
        "1d125e5538f38afbcc1c84e489521083041d24bc6240767029da063271a1ff0c",
        False,
    ),
    (
        "the encoded s was replaced by s + L.. (Wycheproof Ed25519 63)",
        -8,
        "7d4d0e7f6153a69b6242b522abbee685fda4420f8834b108c3bdae369ef549fa",
        "54657374",
        "7c38e026f29e14aabd059a0f2db8b0cd783040609a8be684db12f82a27774ab0"
        "67654bce3832c2d76f8f6f5dafc08d9339d4eef676573336a5c51eb6f946b31d",
        False,
    ),
    (
        "Signature with S just above the bound. [David Benjamin] (Wycheproof Ed25519 85)",
        -8,
        "100fdf47fb94f1536a4f7c3fda27383fa03375a8f527c537e6f1703c47f94f86",
        "6a0bc2b0057cedfc0fa2e3f7f7d39279b30f454a69dfd1117c758d86b19d85e0",
        "0971f86d2c9c78582524a103cb9cf949522ae528f8054dc20107d999be673ff4"
        "e25ebf2f2928766b1248bec6e91697775f8446639ede46ad4df4053000000010",
        False,
    ),
    (
        "signature malleability (Wycheproof P-256 1)",
        -7,
        "2927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838"
        "c7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e",
        "313233343030",
        "2ba3a8be6b94d5ec80a6d9d1190a436effe50d85a1eee859b8cc6af9bd5c2e18"
        "4cd60b855d442f5b3c7b11eb6c4e0ae7525fe710fab9aa7c77a67f79e6fadd76",
        True,
    ),
    (
        "replaced r by r + n (Wycheproof P-256 2)",
        -7,
        "2927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838"
        "c7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e",
        "313233343030",
        "012ba3a8bd6b94d5ed80a6d9d1190a436ebccc0833490686deac8635bcb9bf53"
        "6900b329f479a2bbd0a5c384ee1493b1f5186a87139cac5df4087c134b491568"
        "47db",
        False,
    ),
    (
        "replaced r by n - r, s in the upper half (Wycheproof P-256 4)",
        -7,
        "2927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838"
        "c7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e",
        "313233343030",
        "d45c5740946b2a147f59262ee6f5bc90bd01ed280528b62b3aed5fc93f06f739"
        "b329f479a2bbd0a5c384ee1493b1f5186a87139cac5df4087c134b49156847db",
        False,
    ),
    (
        "replaced r by r + 2**256 (Wycheproof P-256 5)",
        -7,
        "2927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838"
        "c7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e",
        "313233343030",
        "012ba3a8be6b94d5ec80a6d9d1190a436effe50d85a1eee859b8cc6af9bd5c2e"
        "1800b329f479a2bbd0a5c384ee1493b1f5186a87139cac5df4087c134b491568"
        "47db",
        False,
    ),
    (
        "Signature with special case values r=0 and s=0 (Wycheproof P-256 11)",
        -7,
        "2927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838"
        "c7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e",
        "313233343030",
        "0000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000",
        False,
    ),
    (
        "Signature with special case values r=0 and s=n, s in the upper half (Wycheproof P-256 13)",
        -7,
        "2927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838"
        "c7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e",
        "313233343030",
        "0000000000000000000000000000000000000000000000000000000000000000"
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        False,
    ),
    (
        "Edge case for Shamir multiplication (Wycheproof P-256 60)",
        -7,
        "2927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838"
        "c7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e",
        "3639383139",
        "64a1aab5000d0e804f3e2fc02bdee9be8ff312334e2ba16d11547c97711c898e"
        "6af015971cc30be6d1a206d4e013e0997772a2f91d73286ffd683b9bb2cf4f1b",
        True,
    ),
    (
        "special case hash (Wycheproof P-256 61)",
        -7,
        "2927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838"
        "c7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e",
        "343236343739373234",
        "16aea964a2f6506d6f78c81c91fc7e8bded7d397738448de1e19a0ec580bf266"
        "252cd762130c6667cfe8b7bc47d27d78391e8e80c578d1cd38c3ff033be928e9",
        True,
    ),
    (
        "special case hash, s in the upper half (Wycheproof P-256 64)",
        -7,
        "2927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838"
        "c7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e",
        "33393439343031323135",
        "bfab3098252847b328fadf2f89b95c851a7f0eb390763378f37e90119d5ba3dd"
        "bdd64e234e832b1067c2d058ccb44d978195ccebb65c2aaf1e2da9b8b4987e3b",
        False,
    ),
    (
        "k*G has a large x-coordinate, s in the upper half (Wycheproof P-256 115)",
        -7,
        "0ad99500288d466940031d72a9f5445a4d43784640855bf0a69874d2de5fe103"
        "c5011e6ef2c42dcd50d5d3d29f99ae6eba2c80c9244f4c5422f0979ff0c3ba5e",
        "313233343030",
        "000000000000000000000000000000004319055358e8617b0c46353d039cdaab"
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc63254e",
        False,
    ),
    (
        "r too large, s in the upper half (Wycheproof P-256 116)",
        -7,
        "0ad99500288d466940031d72a9f5445a4d43784640855bf0a69874d2de5fe103"
        "c5011e6ef2c42dcd50d5d3d29f99ae6eba2c80c9244f4c5422f0979ff0c3ba5e",
        "313233343030",
        "ffffffff00000001000000000000000000000000fffffffffffffffffffffffc"
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc63254e",
        False,
    ),
    (
        "r and s^-1 have a large Hamming weight (Wycheproof P-256 119)",
        -7,
        "4201b4272944201c3294f5baa9a3232b6dd687495fcc19a70a95bc602b4f7c05"
        "95c37eba9ee8171c1bb5ac6feaf753bc36f463e3aef16629572c0c0a8fb0800e",
        "313233343030",
        "7ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffd"
        "27b4577ca009376f71303fd5dd227dcef5deb773ad5f5a84360644669ca249a5",
        True,
    ),
    (
        "small r and s (Wycheproof P-256 120)",
        -7,
        "a71af64de5126a4a4e02b7922d66ce9415ce88a4c9d25514d91082c8725ac957"
        "5d47723c8fbe580bb369fec9c2665d8e30a435b9932645482e7c9f11e872296b",
        "313233343030",
        "0000000000000000000000000000000000000000000000000000000000000005"
        "0000000000000000000000000000000000000000000000000000000000000001",
        True,
    ),
    (
        "incorrect size of signature (Wycheproof P-256 121)",
        -7,
        "a71af64de5126a4a4e02b7922d66ce9415ce88a4c9d25514d91082c8725ac957"
        "5d47723c8fbe580bb369fec9c2665d8e30a435b9932645482e7c9f11e872296b",
        "313233343030",
        "0501",
        False,
    ),
    (
        "r is larger than n (Wycheproof P-256 136)",
        -7,
        "d03eb09913cc20c6a8d0070f0d8d2a7f63527fafa44117fce6bd1ef2aa4ae3c4"
        "6d5df3f45ac58fa334c6d102381b3120b7a2455600dcaff3d1a845514f12bf46",
        "313233343030",
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632557"
        "0000000000000000000000000000000000000000000000000000000000000007",
        False,
    ),
    (
        "edge case modular inverse (Wycheproof P-256 154)",
        -7,
        "61722eaba731c697c7a9ba4d0afdbb5713d8aa12b0eab601bb33dbaf792c5adc"
        "272cd993b2b663aba5b3a26c101182ff178684945e83879e71598b95fe647dfc",
        "313233343030",
        "555555550000000055555555555555553ef7a8e48d07df81a693439654210c70"
        "02f676969f451a8ccafa4c4f09791810e6d632dbd60b1d5540f3284fbe1889b0",
        True,
    ),
    (
        "point at infinity during verify (Wycheproof P-256 169)",
        -7,
        "b533d4695dd5b8c5e07757e55e6e516f7e2c88fa0239e23f60e8ec07dd70f287"
        "1b134ee58cc583278456863f33c3a85d881f7d4a39850143e29d4eaf009afe47",
        "313233343030",
        "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8"
        "555555550000000055555555555555553ef7a8e48d07df81a693439654210c70",
        False,
    ),
    (
        "point duplication during verification, s in the upper half (Wycheproof P-256 204)",
        -7,
        "5b812fd521aafa69835a849cce6fbdeb6983b442d2444fe70e134c027fc46963"
        "838a40f2a36092e9004e92d8d940cf5638550ce672ce8b8d4e15eba5499249e9",
        "313233343030",
        "6f2347cab7dd76858fe0555ac3bc99048c4aacafdfb6bcbe05ea6c42c4934569"
        "bb726660235793aa9957a61e76e00c2c435109cf9a15dd624d53f4301047856b",
        False,
    ),
    (
        "duplication bug, s in the upper half (Wycheproof P-256 205)",
        -7,
        "5b812fd521aafa69835a849cce6fbdeb6983b442d2444fe70e134c027fc46963"
        "7c75bf0c5c9f6d17ffb16d2726bf30a9c7aaf31a8d317472b1ea145ab66db616",
        "313233343030",
        "6f2347cab7dd76858fe0555ac3bc99048c4aacafdfb6bcbe05ea6c42c4934569"
        "bb726660235793aa9957a61e76e00c2c435109cf9a15dd624d53f4301047856b",
        False,
    ),
    (
        "pseudorandom signature, s in the upper half (Wycheproof P-256 226)",
        -7,
        "04aaec73635726f213fb8a9e64da3b8632e41495a944d0045b522eba7240fad5"
        "87d9315798aaa3a5ba01775787ced05eaaf7b4e09fc81d6d1aa546e8365d525d",
        "4d7367",
        "530bd6b0c9af2d69ba897f6b5fb59695cfbf33afe66dbadcf5b8d2a2a6538e23"
        "d85e489cb7a161fd55ededcedbf4cc0c0987e3e3f0f242cae934c72caa3f43e9",
        False,
    ),
    (
        "x-coordinate of the public key has many trailing 0's, s in the upper half (Wycheproof P-256 229)",
        -7,
        "4f337ccfd67726a805e4f1600ae2849df3807eca117380239fbd816900000000"
        "ed9dea124cc8c396416411e988c30f427eb504af43a3146cd5df7ea60666d685",
        "4d657373616765",
        "d434e262a49eab7781e353a3565e482550dd0fd5defa013c7f29745eff3569f1"
        "9b0c0a93f267fb6052fd8077be769c2b98953195d7bc10de844218305c6ba17a",
        False,
    ),
    (
        "x-coordinate of the public key has many trailing 0's (Wycheproof P-256 230)",
        -7,
        "4f337ccfd67726a805e4f1600ae2849df3807eca117380239fbd816900000000"
        "ed9dea124cc8c396416411e988c30f427eb504af43a3146cd5df7ea60666d685",
        "4d657373616765",
        "0fe774355c04d060f76d79fd7a772e421463489221bf0a33add0be9b1979110b"
        "500dcba1c69a8fbd43fa4f57f743ce124ca8b91a1f325f3fac6181175df55737",
        True,
    ),
)

KEY_EDGES: Final[tuple[tuple[str, int, str, bool], ...]] = (
    # name, algorithm, public key, good
    ("an ordinary key", -8, "ef75b20e7540e3dff77404193652ba2bd13df99c1508eee1515e27ae25f28076", True),
    ("the base point", -8, "5866666666666666666666666666666666666666666666666666666666666666", True),
    ("y = 0, order 4", -8, "0000000000000000000000000000000000000000000000000000000000000000", False),
    ("y = 1, the identity", -8, "0100000000000000000000000000000000000000000000000000000000000000", False),
    ("y = p - 1, order 2", -8, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", False),
    ("order 8", -8, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", False),
    ("y = p, not canonical", -8, "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", False),
    ("y = p + 1, not canonical", -8, "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", False),
    (
        "y = 1 with the sign of x, which is 0",
        -8,
        "0100000000000000000000000000000000000000000000000000000000000080",
        False,
    ),
    ("y = 2, not on the curve", -8, "0200000000000000000000000000000000000000000000000000000000000000", False),
    ("mixed order (CCTV 7)", -8, "10eb7c3acfb2bed3e0d6ab89bf5a3d6afddd1176ce4812e38d9fd485058fdb1f", False),
    ("31 bytes", -8, "09000000000000000000000000000000000000000000000000000000000000", False),
    (
        "the base point",
        -7,
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        True,
    ),
    (
        "y one off, not on the curve",
        -7,
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f4",
        False,
    ),
    (
        "0, 0",
        -7,
        "0000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000",
        False,
    ),
    (
        "x = 0",
        -7,
        "0000000000000000000000000000000000000000000000000000000000000000"
        "66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4",
        True,
    ),
    (
        "x = p, not canonical",
        -7,
        "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"
        "66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4",
        False,
    ),
    ("x in 32 bytes and no y", -7, "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296", False),
    (
        "x = 5",
        -7,
        "0000000000000000000000000000000000000000000000000000000000000005"
        "459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc",
        True,
    ),
    (
        "x = p + 5, not canonical",
        -7,
        "ffffffff00000001000000000000000000000001000000000000000000000004"
        "459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc",
        False,
    ),
    ("u = 9, the base point", 4, "0900000000000000000000000000000000000000000000000000000000000000", True),
    ("u = 0", 4, "0000000000000000000000000000000000000000000000000000000000000000", False),
    ("u = 1", 4, "0100000000000000000000000000000000000000000000000000000000000000", False),
    ("u = p - 1", 4, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", False),
    ("u = p, not canonical", 4, "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", False),
    ("u = p + 1, not canonical", 4, "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", False),
    ("u = p + 9, not canonical", 4, "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", False),
    ("u = 9 with the top bit", 4, "0900000000000000000000000000000000000000000000000000000000000080", False),
    ("order 8", 4, "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", False),
    ("order 8, the other", 4, "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157", False),
    ("no such algorithm", -257, "0900000000000000000000000000000000000000000000000000000000000000", False),
)
