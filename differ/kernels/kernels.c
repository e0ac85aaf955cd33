/* The two loops of a scan that NumPy and Arrow have no operation for: hashing a record's canonical bytes, and looking a
 * key hash up in the sorted index. Everything else of differ is Python.
 *
 * Plain C11 without Python's headers: one library serves every Python, ctypes lets go of the interpreter's lock around
 * each call, and the fallback in NumPy and polars computes the same (differ/kernels/__init__.py says when it is used).
 * Little-endian machines only. No function allocates; none keeps a pointer.
 *
 * Sources: the XXH3 specification (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md); docs/formats/canonical-bytes.md
 * for the bytes; group prefetching after Chen et al., "Improving hash join performance through prefetching", ICDE 2004.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ABI 2

typedef unsigned __int128 u128;

static const uint64_t P32_1 = 0x9E3779B1u, P32_2 = 0x85EBCA77u, P32_3 = 0xC2B2AE3Du;
static const uint64_t P64_1 = 0x9E3779B185EBCA87u, P64_2 = 0xC2B2AE3D27D4EB4Fu, P64_3 = 0x165667B19E3779F9u;
static const uint64_t P64_4 = 0x85EBCA77C2B2AE63u, P64_5 = 0x27D4EB2F165667C5u;

/* The default secret of XXH3, from its specification. */
static const uint8_t SECRET[192] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

typedef struct { uint64_t hi, lo; } hash128;

int differ_abi(void) { return ABI; }

/* ---- XXH3, 128 bits, seed 0 ------------------------------------------------------------------------------------- */

static inline uint64_t r64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline uint32_t r32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t s64(size_t at) { return r64(SECRET + at); }

static inline uint64_t fold(uint64_t a, uint64_t b) {
    u128 product = (u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t mix3(uint64_t h) {
    h ^= h >> 37;
    h *= 0x165667919E3779F9u;
    return h ^ (h >> 32);
}

static inline uint64_t mix64(uint64_t h) {
    h ^= h >> 33;
    h *= P64_2;
    h ^= h >> 29;
    h *= P64_3;
    return h ^ (h >> 32);
}

static hash128 hash_short(const uint8_t *p, size_t n) {
    hash128 out;
    if (n > 8) {
        uint64_t low = r64(p), high = r64(p + n - 8);
        u128 m = (u128)(low ^ high ^ (s64(32) ^ s64(40))) * P64_1;
        uint64_t ml = (uint64_t)m + ((uint64_t)(n - 1) << 54), mh = (uint64_t)(m >> 64);
        high ^= s64(48) ^ s64(56);
        mh += high + (uint64_t)(uint32_t)high * (P32_2 - 1);
        ml ^= __builtin_bswap64(mh);
        m = (u128)ml * P64_2;
        out.lo = mix3((uint64_t)m);
        out.hi = mix3((uint64_t)(m >> 64) + mh * P64_2);
        return out;
    }
    if (n >= 4) {
        uint64_t keyed = ((uint64_t)r32(p) + ((uint64_t)r32(p + n - 4) << 32)) ^ (s64(16) ^ s64(24));
        u128 m = (u128)keyed * (P64_1 + (n << 2));
        uint64_t ml = (uint64_t)m, mh = (uint64_t)(m >> 64);
        mh += ml << 1;
        ml ^= mh >> 3;
        ml ^= ml >> 35;
        ml *= 0x9FB21C651E98DF25u;
        ml ^= ml >> 28;
        out.lo = ml;
        out.hi = mix3(mh);
        return out;
    }
    if (n) {
        uint32_t low = ((uint32_t)p[0] << 16) | ((uint32_t)p[n >> 1] << 24) | p[n - 1] | ((uint32_t)n << 8);
        uint32_t swapped = __builtin_bswap32(low);
        uint32_t high = (swapped << 13) | (swapped >> 19);
        out.lo = mix64((uint64_t)low ^ (uint64_t)(r32(SECRET) ^ r32(SECRET + 4)));
        out.hi = mix64((uint64_t)high ^ (uint64_t)(r32(SECRET + 8) ^ r32(SECRET + 12)));
        return out;
    }
    out.lo = mix64(s64(64) ^ s64(72));
    out.hi = mix64(s64(80) ^ s64(88));
    return out;
}

static inline uint64_t mix16(const uint8_t *p, size_t at) { return fold(r64(p) ^ s64(at), r64(p + 8) ^ s64(at + 8)); }

static inline void mix32(hash128 *acc, const uint8_t *one, const uint8_t *two, size_t at) {
    acc->lo = (acc->lo + mix16(one, at)) ^ (r64(two) + r64(two + 8));
    acc->hi = (acc->hi + mix16(two, at + 16)) ^ (r64(one) + r64(one + 8));
}

static inline hash128 finish_middle(hash128 acc, size_t n) {
    hash128 out;
    out.lo = mix3(acc.lo + acc.hi);
    out.hi = 0 - mix3(acc.lo * P64_1 + acc.hi * P64_4 + (uint64_t)n * P64_2);
    return out;
}

static inline hash128 hash_middle(const uint8_t *p, size_t n) {
    hash128 acc = {0, (uint64_t)n * P64_1};
    if (n <= 128) {
        if (n > 32) {
            if (n > 64) {
                if (n > 96) mix32(&acc, p + 48, p + n - 64, 96);
                mix32(&acc, p + 32, p + n - 48, 64);
            }
            mix32(&acc, p + 16, p + n - 32, 32);
        }
        mix32(&acc, p, p + n - 16, 0);
        return finish_middle(acc, n);
    }
    for (size_t i = 32; i < 160; i += 32) mix32(&acc, p + i - 32, p + i - 16, i - 32);
    acc.lo = mix3(acc.lo);
    acc.hi = mix3(acc.hi);
    for (size_t i = 160; i <= n; i += 32) mix32(&acc, p + i - 32, p + i - 16, 3 + i - 160);
    mix32(&acc, p + n - 16, p + n - 32, 136 - 17 - 16);
    return finish_middle(acc, n);
}

static inline void stripe(uint64_t *acc, const uint8_t *p, const uint8_t *secret) {
    for (int i = 0; i < 8; i++) {
        uint64_t value = r64(p + 8 * i), key = value ^ r64(secret + 8 * i);
        acc[i ^ 1] += value;
        acc[i] += (uint64_t)(uint32_t)key * (key >> 32);
    }
}

static uint64_t merged(const uint64_t *acc, size_t at, uint64_t start) {
    for (int i = 0; i < 4; i++) start += fold(acc[2 * i] ^ s64(at + 16 * i), acc[2 * i + 1] ^ s64(at + 16 * i + 8));
    return mix3(start);
}

static void accumulate(uint64_t *acc, const uint8_t *p, size_t n) {
    const uint64_t start[8] = {P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1};
    memcpy(acc, start, sizeof start);
    size_t blocks = (n - 1) / 1024;
    for (size_t b = 0; b < blocks; b++) {
        for (size_t i = 0; i < 16; i++) stripe(acc, p + b * 1024 + i * 64, SECRET + i * 8);
        for (int i = 0; i < 8; i++) acc[i] = (acc[i] ^ (acc[i] >> 47) ^ s64(128 + 8 * i)) * P32_1;
    }
    size_t stripes = (n - 1 - blocks * 1024) / 64;
    for (size_t i = 0; i < stripes; i++) stripe(acc, p + blocks * 1024 + i * 64, SECRET + i * 8);
    stripe(acc, p + n - 64, SECRET + 192 - 64 - 7);
}

static hash128 hash_long(const uint8_t *p, size_t n) {
    uint64_t acc[8];
    accumulate(acc, p, n);
    hash128 out = {
        .lo = merged(acc, 11, (uint64_t)n * P64_1),
        .hi = merged(acc, 192 - 64 - 11, ~((uint64_t)n * P64_2)),
    };
    return out;
}

static inline hash128 hash_bytes(const uint8_t *p, size_t n) {
    return n > 240 ? hash_long(p, n) : n > 16 ? hash_middle(p, n) : hash_short(p, n);
}

void differ_hash_binary(const uint8_t *data, const int32_t *offsets, int64_t rows, uint64_t *hi, uint64_t *lo) {
    for (int64_t i = 0; i < rows; i++) {
        hash128 found = hash_bytes(data + offsets[i], (size_t)(offsets[i + 1] - offsets[i]));
        hi[i] = found.hi;
        lo[i] = found.lo;
    }
}

/* ---- XXH3, 64 bits, seed 0 -------------------------------------------------------------------------------------- */

static uint64_t hash64_short(const uint8_t *p, size_t n) {
    if (n > 8) {
        uint64_t low = r64(p) ^ (s64(24) ^ s64(32)), high = r64(p + n - 8) ^ (s64(40) ^ s64(48));
        return mix3((uint64_t)n + __builtin_bswap64(low) + high + fold(low, high));
    }
    if (n >= 4) {
        uint64_t h = ((uint64_t)r32(p + n - 4) + ((uint64_t)r32(p) << 32)) ^ (s64(8) ^ s64(16));
        h ^= ((h << 49) | (h >> 15)) ^ ((h << 24) | (h >> 40));
        h *= 0x9FB21C651E98DF25u;
        h ^= (h >> 35) + n;
        h *= 0x9FB21C651E98DF25u;
        return h ^ (h >> 28);
    }
    if (n) {
        uint32_t low = ((uint32_t)p[0] << 16) | ((uint32_t)p[n >> 1] << 24) | p[n - 1] | ((uint32_t)n << 8);
        return mix64((uint64_t)low ^ (uint64_t)(r32(SECRET) ^ r32(SECRET + 4)));
    }
    return mix64(s64(56) ^ s64(64));
}

static uint64_t hash64_bytes(const uint8_t *p, size_t n) {
    uint64_t acc = (uint64_t)n * P64_1;
    if (n <= 16) return hash64_short(p, n);
    if (n <= 128) {
        /* From both ends to the middle, a pair of 16 bytes for each 32 bytes begun. */
        for (size_t i = (n - 1) / 32 + 1; i-- > 0;) acc += mix16(p + 16 * i, 32 * i) + mix16(p + n - 16 * (i + 1), 32 * i + 16);
        return mix3(acc);
    }
    if (n <= 240) {
        for (size_t i = 0; i < 8; i++) acc += mix16(p + 16 * i, 16 * i);
        acc = mix3(acc);
        for (size_t i = 8; i < n / 16; i++) acc += mix16(p + 16 * i, 16 * (i - 8) + 3);
        return mix3(acc + mix16(p + n - 16, 136 - 17));
    }
    uint64_t lanes[8];
    accumulate(lanes, p, n);
    return merged(lanes, 11, acc);
}

void differ_hash64_binary(const uint8_t *data, const int32_t *offsets, int64_t rows, uint64_t *out) {
    for (int64_t i = 0; i < rows; i++) out[i] = hash64_bytes(data + offsets[i], (size_t)(offsets[i + 1] - offsets[i]));
}

/* ---- canonical row bytes, hashed as they are made ----------------------------------------------------------------- */

enum kind { COPY = 0, BITS = 1, FLOAT = 2, BINARY = 3, DICTIONARY = 4, NOTHING = 5 };

typedef struct {
    int32_t kind;
    int32_t width;           /* bytes in the header: the value's, 4 for a length */
    int64_t offset;          /* of the first row, in values (bits for BITS and validity) */
    const uint8_t *validity; /* NULL: no nulls */
    const uint8_t *values;   /* fixed values, bits, or the bytes of BINARY and of the dictionary's values */
    const int32_t *offsets;  /* of BINARY or of the dictionary's values */
    const int32_t *indices;  /* of DICTIONARY */
} column;

#define BLOCK 128

/* memcpy for the few bytes of a text: two overlapping moves and no call. Reads nothing outside the text. */
static inline uint8_t *append(uint8_t *to, const uint8_t *from, size_t n) {
    uint8_t *end = to + n;
    if (n > 64) {
        memcpy(to, from, n);
    } else if (n >= 32) {
        memcpy(to, from, 16);
        memcpy(to + 16, from + 16, 16);
        memcpy(end - 32, from + n - 32, 16);
        memcpy(end - 16, from + n - 16, 16);
    } else if (n >= 16) {
        memcpy(to, from, 16);
        memcpy(end - 16, from + n - 16, 16);
    } else if (n >= 8) {
        memcpy(to, from, 8);
        memcpy(end - 8, from + n - 8, 8);
    } else if (n >= 4) {
        memcpy(to, from, 4);
        memcpy(end - 4, from + n - 4, 4);
    } else {
        for (size_t i = 0; i < n; i++) to[i] = from[i];
    }
    return end;
}

static inline int is_null(const column *c, int64_t row) {
    if (!c->validity) return 0;
    int64_t at = c->offset + row;
    return !((c->validity[at >> 3] >> (at & 7)) & 1);
}

static void copy_fixed(const column *c, int64_t first, int64_t rows, uint8_t *out, int64_t stride) {
    const uint8_t *from = c->values + (c->offset + first) * c->width;
    switch (c->width) {
    case 8:
        for (int64_t i = 0; i < rows; i++) memcpy(out + i * stride, from + i * 8, 8);
        break;
    case 4:
        for (int64_t i = 0; i < rows; i++) memcpy(out + i * stride, from + i * 4, 4);
        break;
    case 16:
        for (int64_t i = 0; i < rows; i++) memcpy(out + i * stride, from + i * 16, 16);
        break;
    default:
        for (int64_t i = 0; i < rows; i++) memcpy(out + i * stride, from + i * c->width, (size_t)c->width);
    }
}

static void copy_floats(const column *c, int64_t first, int64_t rows, uint8_t *out, int64_t stride) {
    const uint8_t *from = c->values + (c->offset + first) * 8;
    for (int64_t i = 0; i < rows; i++) {
        double value;
        memcpy(&value, from + i * 8, 8);
        uint64_t bits = 0x7FF8000000000000u; /* one NaN */
        if (value == value) {
            value += 0.0; /* one zero */
            memcpy(&bits, &value, 8);
        }
        memcpy(out + i * stride, &bits, 8);
    }
}

static inline void slot(const column *c, int64_t row, const uint8_t **start, int32_t *length) {
    int64_t at = c->offset + row;
    if (c->kind == DICTIONARY) at = c->indices[at];
    *start = c->values + c->offsets[at];
    *length = c->offsets[at + 1] - c->offsets[at];
}

/* Hash the canonical bytes of each row. columns: in name order. header: its width in bytes. block: BLOCK * header bytes.
 * scratch: as many bytes as the longest row can take. */
void differ_hash_rows(const column *columns, int32_t count, int32_t header, int64_t rows, uint8_t *block,
                      uint8_t *scratch, uint64_t *hi, uint64_t *lo) {
    int32_t bitmap = (count + 7) / 8;
    for (int64_t first = 0; first < rows; first += BLOCK) {
        int64_t n = rows - first < BLOCK ? rows - first : BLOCK;
        memset(block, 0, (size_t)(n * header));
        int32_t at = bitmap;
        for (int32_t k = 0; k < count; k++) {
            const column *c = columns + k;
            uint8_t *out = block + at;
            switch (c->kind) {
            case COPY: copy_fixed(c, first, n, out, header); break;
            case FLOAT: copy_floats(c, first, n, out, header); break;
            case BITS:
                for (int64_t i = 0; i < n; i++) {
                    int64_t bit = c->offset + first + i;
                    out[i * header] = (c->values[bit >> 3] >> (bit & 7)) & 1;
                }
                break;
            case BINARY: {
                const int32_t *offsets = c->offsets + c->offset + first;
                for (int64_t i = 0; i < n; i++) {
                    int32_t length = offsets[i + 1] - offsets[i];
                    memcpy(out + i * header, &length, 4);
                }
                break;
            }
            case DICTIONARY:
                for (int64_t i = 0; i < n; i++) {
                    if (is_null(c, first + i)) continue; /* what stands there need not be an index */
                    const uint8_t *start;
                    int32_t length;
                    slot(c, first + i, &start, &length);
                    memcpy(out + i * header, &length, 4);
                }
                break;
            default: break;
            }
            int32_t width = c->kind == NOTHING ? 0 : c->width;
            if (c->validity || c->kind == NOTHING)
                for (int64_t i = 0; i < n; i++)
                    if (c->kind == NOTHING || is_null(c, first + i)) {
                        block[i * header + k / 8] |= (uint8_t)(1u << (k % 8));
                        memset(out + i * header, 0, (size_t)width);
                    }
            at += width;
        }
        for (int64_t i = 0; i < n; i++) {
            const uint8_t *head = block + i * header;
            uint8_t *end = scratch;
            end = append(end, head, (size_t)header);
            for (int32_t k = 0; k < count; k++) {
                const column *c = columns + k;
                if ((c->kind != BINARY && c->kind != DICTIONARY) || is_null(c, first + i)) continue;
                const uint8_t *start;
                int32_t length;
                slot(c, first + i, &start, &length);
                end = append(end, start, (size_t)length);
            }
            hash128 found = hash_bytes(scratch, (size_t)(end - scratch));
            hi[first + i] = found.hi;
            lo[first + i] = found.lo;
        }
    }
}

/* ---- looking keys up in an index that is sorted by key hash -------------------------------------------------------- */

typedef struct {
    const uint64_t *hashes;    /* four of each entry: key_hi, key_lo, row_hi, row_lo */
    const uint32_t *directory; /* 2^bits + 1: where the entries of each bucket begin */
    int64_t rows;
    int64_t first; /* the position of its first entry */
    int32_t bits;
} range;

static inline uint64_t bucket_of(uint64_t key_hi, int32_t range_bits, int32_t bits) {
    return bits ? (key_hi << range_bits) >> (64 - bits) : 0;
}

/* Fill a range's directory. Buckets are the top `bits` bits of key_hi below the range's own `range_bits`. */
void differ_directory(const uint64_t *hashes, int64_t rows, int32_t range_bits, int32_t bits, uint32_t *directory) {
    uint64_t next = 0, buckets = 1ull << bits;
    for (int64_t i = 0; i < rows; i++) {
        uint64_t bucket = bucket_of(hashes[4 * i], range_bits, bits);
        while (next <= bucket) directory[next++] = (uint32_t)i;
    }
    while (next <= buckets) directory[next++] = (uint32_t)rows;
}

enum state { SAME = 0, MOVED = 1, ABSENT = 2, AGAIN = 3 };

#define GROUP 32

/* For each of n fingerprints: where its key stands in the index, and whether its row is the one that is indexed.
 *
 * ranges: 2^range_bits of them, by the top bits of key_hi; an empty one has rows 0. alive: one bit a position, NULL when
 * all are alive; a dead entry is not found. seen: one bit a position, set here. position: -1 where absent.
 * Returns the number of rows whose key was seen before (state AGAIN). */
int64_t differ_probe(const range *ranges, int32_t range_bits, int64_t n, const uint64_t *key_hi, const uint64_t *key_lo,
                     const uint64_t *row_hi, const uint64_t *row_lo, const uint8_t *alive, uint8_t *seen,
                     int64_t *position, uint8_t *state) {
    int64_t again = 0;
    for (int64_t first = 0; first < n; first += GROUP) {
        int64_t count = n - first < GROUP ? n - first : GROUP;
        const range *in[GROUP];
        uint64_t bucket[GROUP];
        int64_t start[GROUP], stop[GROUP], guess[GROUP];
        for (int64_t i = 0; i < count; i++) {
            uint64_t key = key_hi[first + i];
            in[i] = ranges + (range_bits ? key >> (64 - range_bits) : 0);
            if (!in[i]->rows) continue;
            bucket[i] = bucket_of(key, range_bits, in[i]->bits);
            __builtin_prefetch(in[i]->directory + bucket[i]);
        }
        for (int64_t i = 0; i < count; i++) {
            start[i] = stop[i] = guess[i] = 0;
            if (!in[i]->rows) continue;
            start[i] = in[i]->directory[bucket[i]];
            stop[i] = in[i]->directory[bucket[i] + 1];
            /* Hashes are spread evenly, so a key stands near its share of the bucket. */
            uint64_t below = (uint64_t)(range_bits + in[i]->bits);
            int64_t share = below < 64 ? (int64_t)((key_hi[first + i] << below) >> 48) : 0;
            guess[i] = start[i] + (((stop[i] - start[i]) * share) >> 16);
            __builtin_prefetch(in[i]->hashes + 4 * guess[i]);
            __builtin_prefetch(in[i]->hashes + 4 * (guess[i] > start[i] ? guess[i] - 1 : guess[i]));
            __builtin_prefetch(in[i]->hashes + 4 * guess[i] + 8);
        }
        for (int64_t i = 0; i < count; i++) {
            uint64_t key = key_hi[first + i];
            const uint64_t *hashes = in[i]->hashes;
            int64_t low = guess[i];
            while (low > start[i] && hashes[4 * (low - 1)] >= key) low--;
            while (low < stop[i] && hashes[4 * low] < key) low++;
            start[i] = low;
            if (low < stop[i]) __builtin_prefetch(seen + ((in[i]->first + low) >> 3), 1);
        }
        for (int64_t i = 0; i < count; i++) {
            int64_t at = start[i], row = first + i;
            position[row] = -1;
            state[row] = ABSENT;
            for (; at < stop[i] && in[i]->hashes[4 * at] == key_hi[row]; at++) {
                const uint64_t *entry = in[i]->hashes + 4 * at;
                if (entry[1] != key_lo[row]) continue;
                int64_t found = in[i]->first + at;
                uint8_t bit = (uint8_t)(1u << (found & 7));
                if (alive && !(alive[found >> 3] & bit)) break;
                position[row] = found;
                state[row] = entry[2] == row_hi[row] && entry[3] == row_lo[row] ? SAME : MOVED;
                if (seen[found >> 3] & bit) {
                    state[row] = AGAIN;
                    again++;
                }
                seen[found >> 3] |= bit;
                break;
            }
        }
    }
    return again;
}
