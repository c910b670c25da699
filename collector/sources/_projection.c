/* JSON to columns: fields named beforehand go into arrays, everything else is checked and skipped.
 *
 * A Projection is told once which fields of a document it shall read, and into which column of which table each goes.
 * It knows nothing else of the documents. It reads each in one pass, makes no Python object for any value, and refuses
 * a document whole as soon as anything in it is unusual: an escape, a byte above 127, a field twice, a number with a
 * fraction, a null where a number belongs, a missing required field, nesting beyond MAX_DEPTH, broken JSON. Who calls
 * has a slower decoder for those. So this one can be fast without deciding any of the questions JSON leaves open.
 *
 * Nothing reads behind the document's end: single bytes are looked at one by one up to a NUL, which no rule of the grammar
 * accepts and which ends every bytes object; behind a document in a bytearray one is put while it is read. Words are
 * read only where eight bytes are left.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { INTEGER, TIME, TEXT, OBJECT, ROWS, NOTHING, KINDS, UNKNOWN = KINDS, ENDED };

#define NAME_WORDS 4
#define MAX_NAME (8 * NAME_WORDS - 1) /* the closing quote is compared as well */
#define MAX_FIELDS 64                 /* one bit each in a word */
#define STEP_WORDS 5
#define MAX_STEP (8 * STEP_WORDS)
#define RUNS 4 /* unknown fields in a row that are told apart */
#define NOWHERE UINT64_MAX /* bytes that no JSON has */
#define MAX_SHAPES 16                 /* nesting of shapes */
#define MAX_DEPTH 64
#define MAX_TEXT 1024
#define MAX_TABLES 16
#define MAX_SLOTS 1024
#define MAX_TEXT_BUFFER ((size_t)1 << 30)
#define MAX_ROWS ((Py_ssize_t)1 << 27)
#define PADDING 8 /* a cache line */
#define KEPT_ROWS ((Py_ssize_t)1 << 16) /* larger tables are given back to the system when they are taken */
#define KEPT_TEXT ((size_t)1 << 23)

#define BLANKS (UINT64_C(1) << ' ' | UINT64_C(1) << '\n' | UINT64_C(1) << '\r' | UINT64_C(1) << '\t')
#define ONES UINT64_C(0x0101010101010101)
#define HIGH (ONES * 0x80)

typedef struct Shape Shape;

typedef struct {
    uint64_t words[NAME_WORDS]; /* name and closing quote, zeros behind them */
    uint64_t masks[NAME_WORDS];
    int count; /* words in use */
    int length; /* bytes of the name and the quote */
    int kind;
    int slot; /* column, text number or, of ROWS, table */
    Shape *inner;
} Field;

/* What stood between two values: from behind one of them, or the opening brace, to behind the colon and a blank, or to
 * behind the closing brace; and what it meant. Writers repeat themselves: where the same bytes stand once more, in the
 * same place of the same shape, they mean the same, and need not be taken apart again. */
typedef struct Step Step;

struct Step {
    Step *next; /* behind the value that follows */
    const Field *field;
    uint64_t bit; /* the field's in a word of 64; 0 without a field */
    uint8_t kind; /* the field's, UNKNOWN or ENDED */
    uint8_t length;
    uint8_t offsets[STEP_WORDS - 1]; /* of the words behind the first; the last ones overlap where the text is shorter */
    uint64_t words[STEP_WORDS];
};

struct Shape {
    int count;
    uint64_t required;
    int table;
    Field *fields;
    Step *steps; /* (count + 1, RUNS): behind which field, or the brace, and behind how many unknown ones since then */
};

typedef struct {
    int width;   /* columns */
    int texts;   /* texts of a row */
    int parent;  /* table whose rows hold those of this one; -1 for the first and for one not yet used */
    bool inherits; /* a row's identity comes from its parent's as well */
    int64_t *defaults;
    Py_ssize_t rows, capacity;
    Py_ssize_t stride;    /* from column to column: PADDING more, or a row's cells would share one set of each cache */
    int64_t *values;      /* (width, stride) */
    int32_t *parents;     /* (capacity,) */
    uint32_t *spans;      /* (capacity, texts, 2): begin and end in `text` */
    uint64_t *identities; /* (capacity, 2) */
} Table;

typedef struct {
    PyObject_HEAD
    int count;
    Table *tables;
    Shape *shape;
    char *text;
    size_t text_size, text_capacity;
    uint64_t key[2];
    const uint8_t *end; /* of the document being read */
    bool no_memory;
} Projection;

/* Words of text. */

static inline uint64_t
word_at(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

static inline int
first_byte(uint64_t marks)
{
    return __builtin_ctzll(marks) >> 3;
}

static const uint8_t *
more_blanks(const uint8_t *p, const uint8_t *end)
{
    while (*p <= ' ' && (BLANKS >> *p & 1)) {
        p++;
        while (end - p >= 8) { /* indentation */
            uint64_t x = word_at(p) ^ (ONES * ' ');
            if (x) {
                p += first_byte(x);
                break;
            }
            p += 8;
        }
    }
    return p;
}

static inline const uint8_t *
blanks(const uint8_t *p, const uint8_t *end)
{
    return *p > ' ' ? p : more_blanks(p, end);
}

/* From behind the opening quote to the closing one; NULL where anything but plain ASCII comes before that. */
static inline const uint8_t *
closing_quote(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 8) {
        uint64_t x = word_at(p), quote = x ^ (ONES * '"'), backslash = x ^ (ONES * '\\');
        /* The lowest mark is exact; a borrow can only make a wrong one above a right one. */
        uint64_t marks = (((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash) | ((x - ONES * ' ') & ~x) | x) & HIGH;
        if (marks) {
            p += first_byte(marks);
            return *p == '"' ? p : NULL;
        }
        p += 8;
    }
    while (*p >= ' ' && *p < 0x80 && *p != '"' && *p != '\\') {
        p++;
    }
    return *p == '"' ? p : NULL;
}

/* Values nobody asked for. */

static const uint8_t *
skip_number(const uint8_t *p)
{
    p += *p == '-';
    if (*p == '0') {
        p++;
    }
    else {
        if (*p < '1' || *p > '9') {
            return NULL;
        }
        while (*p >= '0' && *p <= '9') {
            p++;
        }
    }
    if (*p == '.') {
        p++;
        if (*p < '0' || *p > '9') {
            return NULL;
        }
        while (*p >= '0' && *p <= '9') {
            p++;
        }
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '+' || *p == '-';
        if (*p < '0' || *p > '9') {
            return NULL;
        }
        while (*p >= '0' && *p <= '9') {
            p++;
        }
    }
    return p;
}

static inline const uint8_t *
literal(const uint8_t *p, const char *text)
{
    for (; *text; text++, p++) {
        if (*p != (uint8_t)*text) {
            return NULL;
        }
    }
    return p;
}

static const uint8_t *
skip_value(const uint8_t *p, const uint8_t *end)
{
    uint64_t objects = 0; /* the open containers, the innermost lowest: 1 for an object */
    int depth = 0;

    for (;;) {
        if (depth && (objects & 1)) { /* a key */
            if (*p != '"' || !(p = closing_quote(p + 1, end))) {
                return NULL;
            }
            p = blanks(p + 1, end);
            if (*p != ':') {
                return NULL;
            }
            p = blanks(p + 1, end);
        }
        switch (*p) {
        case '{':
        case '[': {
            bool object = *p == '{';
            p = blanks(p + 1, end);
            if (*p != (object ? '}' : ']')) {
                if (++depth > MAX_DEPTH - MAX_SHAPES) {
                    return NULL;
                }
                objects = objects << 1 | object;
                continue;
            }
            p++;
            break;
        }
        case '"':
            p = closing_quote(p + 1, end);
            p = p ? p + 1 : NULL;
            break;
        case 't':
            p = literal(p, "true");
            break;
        case 'f':
            p = literal(p, "false");
            break;
        case 'n':
            p = literal(p, "null");
            break;
        default:
            p = skip_number(p);
        }
        if (!p) {
            return NULL;
        }
        for (;;) { /* behind a value */
            if (!depth) {
                return p;
            }
            p = blanks(p, end);
            if (*p == ',') {
                p = blanks(p + 1, end);
                break;
            }
            if (*p != ((objects & 1) ? '}' : ']')) {
                return NULL;
            }
            p++;
            objects >>= 1;
            depth--;
        }
    }
}

/* Values that are read. */

/* Up to eight digits at once: their number, and their value in `*value`. */
static inline int
some_digits(const uint8_t *p, uint64_t *value)
{
    uint64_t x = word_at(p), digits = x - ONES * '0';
    uint64_t marks = ((x + ONES * 0x46) | digits) & HIGH; /* exact up to the first that is no digit */
    int count = marks ? first_byte(marks) : 8;

    if (!count) {
        return 0;
    }
    digits <<= 64 - 8 * count;
    digits = (digits * 10 + (digits >> 8)) & UINT64_C(0x00FF00FF00FF00FF);
    digits = (digits * 100 + (digits >> 16)) & UINT64_C(0x0000FFFF0000FFFF);
    *value = (digits * 10000 + (digits >> 32)) & UINT64_C(0xFFFFFFFF);
    return count;
}

static const uint64_t TENS[9] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

static inline const uint8_t *
read_integer(const uint8_t *p, const uint8_t *end, int64_t *value)
{
    const uint8_t *first = p;
    uint64_t sum = 0, part;

    while (end - p >= 8 && p - first <= 8) {
        int count = some_digits(p, &part);
        if (count) {
            sum = sum * TENS[count] + part;
            p += count;
        }
        if (count < 8) {
            goto done;
        }
    }
    while (*p >= '0' && *p <= '9') {
        if (p - first >= 19) {
            return NULL;
        }
        sum = sum * 10 + (*p++ - '0');
    }
done:
    if (p == first || (*first == '0' && p - first > 1) || sum > INT64_MAX) {
        return NULL;
    }
    *value = (int64_t)sum;
    return p;
}

static inline int
two_digits(const uint8_t *p)
{
    unsigned high = p[0] - (unsigned)'0', low = p[1] - (unsigned)'0';
    return high <= 9 && low <= 9 ? (int)(high * 10 + low) : -1;
}

/* Days from 1970-01-01 to a day from 1971 on; -1 where the calendar has no such day. */
static int64_t
days_to(int year, int month, int day)
{
    static const uint8_t lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    static const uint16_t before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    if (month < 1 || month > 12 || day < 1 || day > lengths[month - 1] + (month == 2 && leap)) {
        return -1;
    }
    int past = year - 1;
    int64_t leaps = past / 4 - past / 100 + past / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    return (year - 1970) * INT64_C(365) + leaps + before[month - 1] + (month > 2 && leap) + day - 1;
}

/* From behind the opening quote of an RFC 3339 time to behind the closing one. */
static const uint8_t *
read_time(const uint8_t *p, const uint8_t *end, int64_t *value)
{
    if (end - p < 21) {
        return NULL;
    }
    int century = two_digits(p), decade = two_digits(p + 2), month = two_digits(p + 5), day = two_digits(p + 8);
    int hour = two_digits(p + 11), minute = two_digits(p + 14), second = two_digits(p + 17);
    int year = century * 100 + decade;
    if (century < 0 || decade < 0 || year < 1971 || year > 2260 || p[4] != '-' || p[7] != '-' || p[10] != 'T' ||
        p[13] != ':' || p[16] != ':' || (unsigned)hour > 23 || (unsigned)minute > 59 || (unsigned)second > 59) {
        return NULL;
    }
    int64_t days = days_to(year, month, day), ns = 0;
    if (days < 0) {
        return NULL;
    }
    p += 19;
    if (*p == '.') {
        int count = 0;
        for (p++; *p >= '0' && *p <= '9'; p++, count++) {
            if (count < 9) {
                ns = ns * 10 + (*p - '0');
            }
        }
        if (count < 1 || count > 18) {
            return NULL;
        }
        for (; count < 9; count++) {
            ns *= 10;
        }
    }
    int64_t seconds = days * 86400 + hour * 3600 + minute * 60 + second;
    if (*p == 'Z') {
        p++;
    }
    else {
        if ((*p != '+' && *p != '-') || end - p < 7 || p[3] != ':') {
            return NULL;
        }
        int hours = two_digits(p + 1), minutes = two_digits(p + 4);
        if ((unsigned)hours > 23 || (unsigned)minutes > 59) {
            return NULL;
        }
        seconds += (*p == '-' ? 1 : -1) * (hours * 3600 + minutes * 60);
        p += 6;
    }
    if (*p != '"') {
        return NULL;
    }
    *value = seconds * INT64_C(1000000000) + ns;
    return p + 1;
}

static bool
keep_text(Projection *self, const uint8_t *p, size_t length, uint32_t span[2])
{
    size_t size = self->text_size + length;

    if (size > self->text_capacity) {
        size_t capacity = size < 4096 ? 8192 : 2 * size;
        char *text = size > MAX_TEXT_BUFFER ? NULL : PyMem_Realloc(self->text, capacity);
        if (!text) {
            self->no_memory = size <= MAX_TEXT_BUFFER;
            return false;
        }
        self->text = text;
        self->text_capacity = capacity;
    }
    memcpy(self->text + self->text_size, p, length);
    span[0] = (uint32_t)self->text_size;
    span[1] = (uint32_t)size;
    self->text_size = size;
    return true;
}

/* Tables. */

static bool
grow(Table *table)
{
    Py_ssize_t capacity = table->capacity ? 2 * table->capacity : 64;
    Py_ssize_t stride = capacity + PADDING;
    size_t rows = (size_t)capacity;
    int64_t *values = PyMem_Malloc((size_t)stride * table->width * sizeof(int64_t) + 1);
    if (!values) {
        return false;
    }
    for (int slot = 0; slot < table->width && table->rows; slot++) {
        memcpy(values + slot * stride, table->values + slot * table->stride, table->rows * sizeof(int64_t));
    }
    PyMem_Free(table->values);
    table->values = values;
    table->stride = stride;
    /* Whatever of these succeeds is only larger than it must be: `capacity` is written last. */
    void *parents = PyMem_Realloc(table->parents, rows * sizeof(int32_t));
    table->parents = parents ? parents : table->parents;
    void *spans = PyMem_Realloc(table->spans, rows * table->texts * 2 * sizeof(uint32_t) + 1);
    table->spans = spans ? spans : table->spans;
    void *identities = PyMem_Realloc(table->identities, rows * 2 * sizeof(uint64_t));
    table->identities = identities ? identities : table->identities;
    if (!parents || !spans || !identities) { /* the columns already lie further apart: the rows are of no use */
        table->rows = 0;
        table->capacity = 0;
        return false;
    }
    table->capacity = capacity;
    return true;
}

static void
release(Table *table)
{
    PyMem_Free(table->values);
    PyMem_Free(table->parents);
    PyMem_Free(table->spans);
    PyMem_Free(table->identities);
    table->values = NULL;
    table->parents = NULL;
    table->spans = NULL;
    table->identities = NULL;
    table->rows = table->capacity = 0;
}

/* A new row of defaults; -1 where there is no room for it. */
static Py_ssize_t
new_row(Projection *self, Table *table, Py_ssize_t parent)
{
    Py_ssize_t row = table->rows;

    if (row == table->capacity && (row >= MAX_ROWS || !grow(table))) {
        self->no_memory = row < MAX_ROWS;
        return -1;
    }
    for (int slot = 0; slot < table->width; slot++) {
        table->values[slot * table->stride + row] = table->defaults[slot];
    }
    table->parents[row] = (int32_t)parent;
    if (table->texts) {
        memset(table->spans + row * table->texts * 2, 0, table->texts * 2 * sizeof(uint32_t));
    }
    table->rows++;
    return row;
}

/* Objects. */

static inline bool
is_named(const Field *field, const uint8_t *p, const uint8_t *end)
{
    if (end - p < 8 * field->count) { /* near the end of the document: no field this long fits in what is left */
        for (int i = 0; i < field->length; i++) {
            if (p[i] != (uint8_t)(field->words[i >> 3] >> (8 * (i & 7)))) { /* stops at the final NUL at the latest */
                return false;
            }
        }
        return true;
    }
    for (int i = 0; i < field->count; i++) {
        if ((word_at(p + 8 * i) & field->masks[i]) != field->words[i]) {
            return false;
        }
    }
    return true;
}

/* All words are compared, whatever the length: branches that depend on it would be guessed wrong. */
static inline bool
is_repeated(const Step *step, const uint8_t *p, const uint8_t *end)
{
    if (end - p < MAX_STEP) {
        return false;
    }
    uint64_t wrong = word_at(p) ^ step->words[0];
#pragma GCC unroll 8
    for (int i = 1; i < STEP_WORDS; i++) {
        wrong |= word_at(p + step->offsets[i - 1]) ^ step->words[i];
    }
    return !wrong;
}

static void
remember(Step *step, const uint8_t *from, const uint8_t *to)
{
    Py_ssize_t length = to - from;

    step->words[0] = NOWHERE;
    if (length < 8 || length > MAX_STEP) {
        return;
    }
    step->length = (uint8_t)length;
    step->words[0] = word_at(from);
    for (int i = 1; i < STEP_WORDS; i++) {
        step->offsets[i - 1] = (uint8_t)(8 * i < length - 8 ? 8 * i : length - 8);
        step->words[i] = word_at(from + step->offsets[i - 1]);
    }
}

/* From behind a value, or the opening brace, to behind the next name's colon, or the closing brace: into `step`. */
static const uint8_t *
take_step(Shape *shape, Step *step, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *from = p;

    p = blanks(p, end);
    if (*p == '}') {
        step->field = NULL;
        step->kind = ENDED;
        step->bit = 0;
        remember(step, from, p + 1);
        return p + 1;
    }
    if (step != shape->steps) { /* not the first */
        if (*p != ',') {
            return NULL;
        }
        p = blanks(p + 1, end);
    }
    if (*p++ != '"') {
        return NULL;
    }
    /* What came last time is what comes most often. */
    const Field *field = step->field;
    if (!field || !is_named(field, p, end)) {
        const Field *behind = shape->fields + shape->count;
        for (field = shape->fields; field < behind && !is_named(field, p, end); field++) {
        }
        if (field == behind) {
            field = NULL;
        }
    }
    p = field ? p + field->length : closing_quote(p, end);
    if (!p) {
        return NULL;
    }
    p = blanks(field ? p : p + 1, end);
    if (*p++ != ':') {
        return NULL;
    }
    p += *p == ' ';
    Py_ssize_t place = step - shape->steps;
    step->field = field;
    step->kind = field ? (uint8_t)field->kind : UNKNOWN;
    step->bit = field ? UINT64_C(1) << (field - shape->fields) : 0;
    step->next = field ? shape->steps + (field - shape->fields + 1) * RUNS : step + ((place + 1) % RUNS != 0);
    remember(step, from, p);
    return p;
}

static const uint8_t *read_rows(Projection *self, const uint8_t *p, const Field *field, Py_ssize_t parent);

/* From the opening brace of an object to behind the closing one; its values go into `row`. */
static const uint8_t *
read_object(Projection *self, const uint8_t *p, Shape *shape, Py_ssize_t row)
{
    const uint8_t *end = self->end;
    Table *table = self->tables + shape->table;
    Step *step = shape->steps;
    uint64_t seen = 0;

    if (*p++ != '{') {
        return NULL;
    }
    for (;;) {
        if (is_repeated(step, p, end)) {
            p += step->length;
        }
        else if (!(p = take_step(shape, step, p, end))) {
            return NULL;
        }
        if (seen & step->bit) {
            return NULL;
        }
        seen |= step->bit;
        const Field *field = step->field;
        int kind = step->kind;
        step = step->next;
        switch (kind) {
        case ENDED:
            return shape->required & ~seen ? NULL : p;
        case INTEGER:
            p = read_integer(blanks(p, end), end, table->values + field->slot * table->stride + row);
            break;
        case TIME:
            p = blanks(p, end);
            if (*p != '"') {
                p = literal(p, "null");
            }
            else if (p[1] == '"') {
                p += 2;
            }
            else {
                p = read_time(p + 1, end, table->values + field->slot * table->stride + row);
            }
            break;
        case TEXT: {
            p = blanks(p, end);
            const uint8_t *first = p + 1;
            if (*p != '"' || !(p = closing_quote(first, end)) || p == first || p - first > MAX_TEXT ||
                !keep_text(self, first, p - first, table->spans + (row * table->texts + field->slot) * 2)) {
                return NULL;
            }
            p++;
            break;
        }
        case OBJECT:
            p = read_object(self, blanks(p, end), field->inner, row);
            break;
        case ROWS:
            p = blanks(p, end);
            p = *p == '[' ? read_rows(self, p + 1, field, row) : literal(p, "null");
            break;
        case NOTHING:
            p = blanks(p, end);
            if (*p == '[') {
                p = blanks(p + 1, end);
                p = *p == ']' ? p + 1 : NULL;
            }
            else {
                p = literal(p, "null");
            }
            break;
        default:
            p = blanks(p, end);
            p = (*p >= '0' && *p <= '9') ? skip_number(p) : skip_value(p, end);
        }
        if (!p) {
            return NULL;
        }
    }
}

/* From behind the opening bracket of an array of objects to behind the closing one. */
static const uint8_t *
read_rows(Projection *self, const uint8_t *p, const Field *field, Py_ssize_t parent)
{
    p = blanks(p, self->end);
    if (*p == ']') {
        return p + 1;
    }
    for (;;) {
        Py_ssize_t row = new_row(self, self->tables + field->slot, parent);
        if (row < 0 || !(p = read_object(self, p, field->inner, row))) {
            return NULL;
        }
        p = blanks(p, self->end);
        if (*p == ']') {
            return p + 1;
        }
        if (*p != ',') {
            return NULL;
        }
        p = blanks(p + 1, self->end);
    }
}

/* Identities: SipHash-1-3, 128 bits, of the parent's identity (where that counts) and the texts, each after its length. */

#define ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))

static inline void
sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = ROTATE(v[1], 13) ^ v[0];
    v[3] = ROTATE(v[3], 16) ^ v[2];
    v[0] = ROTATE(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = ROTATE(v[1], 17) ^ v[2];
    v[3] = ROTATE(v[3], 21) ^ v[0];
    v[2] = ROTATE(v[2], 32);
}

static inline void
sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

static void
identify(Projection *self, int number, Py_ssize_t row)
{
    Table *table = self->tables + number;
    uint64_t v[4] = {
        self->key[0] ^ UINT64_C(0x736f6d6570736575),
        self->key[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
        self->key[0] ^ UINT64_C(0x6c7967656e657261),
        self->key[1] ^ UINT64_C(0x7465646279746573),
    };
    uint64_t *identity = table->identities + row * 2;

    sip_word(v, (uint64_t)number);
    if (table->inherits) {
        const uint64_t *parent = self->tables[table->parent].identities + (Py_ssize_t)table->parents[row] * 2;
        sip_word(v, parent[0]);
        sip_word(v, parent[1]);
    }
    for (int i = 0; i < table->texts; i++) {
        const uint32_t *span = table->spans + (row * table->texts + i) * 2;
        size_t length = span[1] - span[0];
        const uint8_t *p = (const uint8_t *)self->text + span[0];
        sip_word(v, length);
        for (; length >= 8; length -= 8, p += 8) {
            sip_word(v, word_at(p));
        }
        if (length) {
            uint8_t rest[8] = {0};
            memcpy(rest, p, length);
            sip_word(v, word_at(rest));
        }
    }
    v[2] ^= 0xee;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    identity[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    identity[1] = (v[0] ^ v[1] ^ v[2] ^ v[3]) | 1; /* never all zeros: that may stand for nothing */
}

/* Python's side. */

/* Read a document of `size` bytes that a NUL follows: 1, 0 when it is refused, -1 with an exception. */
static int
read_document(Projection *self, const uint8_t *bytes, Py_ssize_t size)
{
    Py_ssize_t before[MAX_TABLES];
    size_t text_size = self->text_size;

    for (int i = 0; i < self->count; i++) {
        before[i] = self->tables[i].rows;
    }
    self->end = bytes + size;
    self->no_memory = false;
    const uint8_t *p = NULL;
    Py_ssize_t row = new_row(self, self->tables, 0);
    if (row >= 0) {
        p = read_object(self, blanks(bytes, self->end), self->shape, row);
    }
    if (p && blanks(p, self->end) == self->end) {
        for (int i = 0; i < self->count; i++) {
            for (Py_ssize_t found = before[i]; found < self->tables[i].rows; found++) {
                identify(self, i, found);
            }
        }
        return 1;
    }
    if (self->no_memory) { /* a table may have lost its rows */
        for (int i = 0; i < self->count; i++) {
            release(self->tables + i);
        }
        self->text_size = 0;
        PyErr_NoMemory();
        return -1;
    }
    for (int i = 0; i < self->count; i++) {
        self->tables[i].rows = before[i];
    }
    self->text_size = text_size;
    return 0;
}

/* A memoryview that lies in a bytearray, which always has one byte more than it says: so a NUL can stand behind the
 * document while it is read, whatever is there otherwise. -2 where it is no such view. */
static int
read_in_place(Projection *self, PyObject *document)
{
    Py_buffer view;
    PyObject *owner = PyObject_GetAttrString(document, "obj");
    int read = -2;

    if (!owner) {
        PyErr_Clear();
        return read;
    }
    if (PyByteArray_Check(owner)) {
        if (PyObject_GetBuffer(document, &view, PyBUF_SIMPLE) < 0) {
            Py_DECREF(owner);
            return -1;
        }
        char *first = PyByteArray_AsString(owner), *behind = (char *)view.buf + view.len;
        if ((char *)view.buf >= first && behind <= first + PyByteArray_Size(owner)) {
            char there = *behind;
            *behind = 0;
            read = read_document(self, view.buf, view.len);
            *behind = there;
        }
        PyBuffer_Release(&view);
    }
    Py_DECREF(owner);
    return read;
}

static PyObject *
projection_add(Projection *self, PyObject *document)
{
    char *bytes;
    Py_ssize_t size;
    int read = PyBytes_Check(document) ? -2 : read_in_place(self, document);

    if (read == -2) {
        if (!PyObject_CheckBuffer(document)) {
            PyErr_SetString(PyExc_TypeError, "a document is bytes or a view of them");
            return NULL;
        }
        PyObject *copy = PyBytes_FromObject(document); /* of bytes, themselves */
        if (!copy) {
            return NULL;
        }
        read = PyBytes_AsStringAndSize(copy, &bytes, &size) < 0 ? -1 : read_document(self, (const uint8_t *)bytes, size);
        Py_DECREF(copy);
    }
    return read < 0 ? NULL : PyBool_FromLong(read);
}

static PyObject *
copied(const void *from, size_t size)
{
    return PyByteArray_FromStringAndSize(from, (Py_ssize_t)size);
}

static PyObject *
copied_table(const Table *table)
{
    size_t column = (size_t)table->rows * sizeof(int64_t), rows = (size_t)table->rows;
    PyObject *values = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(column * table->width));

    if (!values) {
        return NULL;
    }
    for (int slot = 0; slot < table->width && table->rows; slot++) {
        memcpy(PyByteArray_AsString(values) + slot * column, table->values + slot * table->stride, column);
    }
    return Py_BuildValue(
        "NNNN",
        values,
        copied(table->parents, rows * sizeof(int32_t)),
        copied(table->spans, rows * table->texts * 2 * sizeof(uint32_t)),
        copied(table->identities, rows * 2 * sizeof(uint64_t)));
}

static PyObject *
projection_take(Projection *self, PyObject *Py_UNUSED(none))
{
    PyObject *tables = PyTuple_New(self->count), *text = NULL;

    for (int i = 0; tables && i < self->count; i++) {
        PyObject *table = copied_table(self->tables + i);
        if (!table || PyTuple_SetItem(tables, i, table) < 0) {
            Py_CLEAR(tables);
        }
    }
    if (!tables || !(text = PyBytes_FromStringAndSize(self->text, (Py_ssize_t)self->text_size))) {
        Py_XDECREF(tables);
        return NULL;
    }
    for (int i = 0; i < self->count; i++) {
        if (self->tables[i].capacity > KEPT_ROWS) {
            release(self->tables + i);
        }
        self->tables[i].rows = 0;
    }
    self->text_size = 0;
    if (self->text_capacity > KEPT_TEXT) {
        PyMem_Free(self->text);
        self->text = NULL;
        self->text_capacity = 0;
    }
    return Py_BuildValue("NN", text, tables);
}

static void
free_shape(Shape *shape)
{
    if (shape) {
        for (int i = 0; shape->fields && i < shape->count; i++) {
            free_shape(shape->fields[i].inner);
        }
        PyMem_Free(shape->fields);
        PyMem_Free(shape->steps);
        PyMem_Free(shape);
    }
}

static bool
make_field(Projection *self, Field *field, PyObject *given, int table, int depth, uint64_t *required);

/* The shape that a tuple of fields describes; NULL with an exception. `table` is that of the object's row. */
static Shape *
make_shape(Projection *self, PyObject *given, int table, int depth)
{
    Py_ssize_t count = PyTuple_Check(given) ? PyTuple_Size(given) : -1;

    if (count < 1 || count > MAX_FIELDS || depth > MAX_SHAPES) {
        PyErr_Format(
            PyExc_ValueError, "a shape is a tuple of 1 to %d fields, at most %d deep", MAX_FIELDS, MAX_SHAPES);
        return NULL;
    }
    Shape *shape = PyMem_Calloc(1, sizeof(Shape));
    Field *fields = PyMem_Calloc((size_t)count, sizeof(Field));
    size_t places = (size_t)(count + 1) * RUNS;
    Step *steps = PyMem_Calloc(places, sizeof(Step));
    if (!shape || !fields || !steps) {
        PyMem_Free(shape);
        PyMem_Free(fields);
        PyMem_Free(steps);
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < places; i++) { /* bytes that stand nowhere */
        steps[i].words[0] = NOWHERE;
    }
    shape->steps = steps;
    shape->fields = fields;
    shape->count = (int)count;
    shape->table = table;
    for (int i = 0; i < shape->count; i++) {
        uint64_t required = 0;
        if (!make_field(self, fields + i, PyTuple_GetItem(given, i), table, depth, &required)) {
            free_shape(shape);
            return NULL;
        }
        shape->required |= required << i;
    }
    return shape;
}

static bool
make_field(Projection *self, Field *field, PyObject *given, int table, int depth, uint64_t *required)
{
    const char *name;
    Py_ssize_t length;
    PyObject *inner;
    int kind, slot, needed;

    if (!PyTuple_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "a field is a tuple: name, kind, slot, inner shape, required");
        return false;
    }
    if (!PyArg_ParseTuple(given, "s#iiOp", &name, &length, &kind, &slot, &inner, &needed)) {
        return false;
    }
    bool plain = length >= 1 && length <= MAX_NAME;
    for (Py_ssize_t i = 0; plain && i < length; i++) {
        plain = name[i] >= ' ' && name[i] != '"' && name[i] != '\\' && (uint8_t)name[i] < 0x80;
    }
    if (!plain || kind < 0 || kind >= KINDS) {
        PyErr_Format(PyExc_ValueError, "field %R: the name is 1 to %d ASCII characters, the kind one of ours", given, MAX_NAME);
        return false;
    }
    const Table *own = self->tables + table;
    int limit = kind == TEXT ? own->texts : kind == ROWS ? self->count : kind == INTEGER || kind == TIME ? own->width : 1;
    if (slot < 0 || slot >= limit || (kind == ROWS && (slot <= table || self->tables[slot].parent >= 0))) {
        PyErr_Format(PyExc_ValueError, "field %R: no such slot, or a table that is already fed", given);
        return false;
    }
    uint8_t quoted[8 * NAME_WORDS] = {0};
    memcpy(quoted, name, (size_t)length);
    quoted[length] = '"';
    for (int i = 0; i < NAME_WORDS; i++) {
        uint8_t mask[8];
        for (int j = 0; j < 8; j++) {
            mask[j] = 8 * i + j <= length ? 0xFF : 0;
        }
        field->words[i] = word_at(quoted + 8 * i);
        field->masks[i] = word_at(mask);
    }
    field->length = (int)length + 1;
    field->count = (field->length + 7) / 8;
    field->kind = kind;
    field->slot = slot;
    *required = needed != 0;
    if (kind == ROWS) {
        self->tables[slot].parent = table;
    }
    if (kind == ROWS || kind == OBJECT) {
        field->inner = make_shape(self, inner, kind == ROWS ? slot : table, depth + 1);
        return field->inner != NULL;
    }
    return true;
}

static bool
make_table(Table *table, PyObject *given)
{
    PyObject *defaults;
    int inherits;

    table->parent = -1;
    if (!PyTuple_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "a table is a tuple: defaults, number of texts, inherits");
        return false;
    }
    if (!PyArg_ParseTuple(given, "O!ip", &PyTuple_Type, &defaults, &table->texts, &inherits)) {
        return false;
    }
    if (PyTuple_Size(defaults) > MAX_SLOTS || table->texts < 0 || table->texts > MAX_SLOTS) {
        PyErr_Format(PyExc_ValueError, "table %R: at most %d slots of either sort", given, MAX_SLOTS);
        return false;
    }
    table->width = (int)PyTuple_Size(defaults);
    table->inherits = inherits != 0;
    table->defaults = PyMem_Calloc((size_t)table->width + 1, sizeof(int64_t));
    if (!table->defaults) {
        PyErr_NoMemory();
        return false;
    }
    for (int slot = 0; slot < table->width; slot++) {
        table->defaults[slot] = PyLong_AsLongLong(PyTuple_GetItem(defaults, slot));
        if (table->defaults[slot] == -1 && PyErr_Occurred()) {
            return false;
        }
    }
    return true;
}

static PyObject *
projection_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *names[] = {"tables", "shape", "key", NULL};
    PyObject *tables, *shape;
    const char *key;
    Py_ssize_t size;

    if (!PyArg_ParseTupleAndKeywords(
            arguments, named, "O!O!y#:Projection", names, &PyTuple_Type, &tables, &PyTuple_Type, &shape, &key, &size)) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_Size(tables);
    if (count < 1 || count > MAX_TABLES || size != 16) {
        PyErr_Format(PyExc_ValueError, "1 to %d tables and a key of 16 bytes are needed", MAX_TABLES);
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Projection *self = (Projection *)allocate(type, 0); /* all zeros */
    if (!self) {
        return NULL;
    }
    self->tables = PyMem_Calloc((size_t)count, sizeof(Table));
    if (!self->tables) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->count = (int)count;
    self->key[0] = word_at((const uint8_t *)key);
    self->key[1] = word_at((const uint8_t *)key + 8);
    for (int i = 0; i < self->count; i++) {
        if (!make_table(self->tables + i, PyTuple_GetItem(tables, i))) {
            Py_DECREF(self);
            return NULL;
        }
    }
    self->shape = make_shape(self, shape, 0, 1);
    for (int i = 0; self->shape && i < self->count; i++) {
        if (self->tables[i].inherits && self->tables[i].parent < 0) {
            PyErr_Format(PyExc_ValueError, "table %d inherits, but no field feeds it", i);
            Py_DECREF(self);
            return NULL;
        }
    }
    if (!self->shape) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void
projection_dealloc(Projection *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    freefunc release_object = (freefunc)PyType_GetSlot(type, Py_tp_free);

    free_shape(self->shape);
    for (int i = 0; i < self->count; i++) {
        release(self->tables + i);
        PyMem_Free(self->tables[i].defaults);
    }
    PyMem_Free(self->tables);
    PyMem_Free(self->text);
    release_object(self);
    Py_DECREF(type);
}

static PyMethodDef projection_methods[] = {
    {"add",
     (PyCFunction)projection_add,
     METH_O,
     "add(document: bytes | memoryview) -> bool\n\nRead a document into the tables; False when it is refused, which leaves "
     "no trace. Bytes and views of a bytearray are read where they lie, other buffers are copied. "
     "Raises MemoryError, and then forgets all that was added since the last take."},
    {"take",
     (PyCFunction)projection_take,
     METH_NOARGS,
     "take() -> (text, tables)\n\nWhat was added since the last time. Each table: values int64 (width, rows); parents "
     "int32 (rows,), rows of the table above; spans uint32 (rows, texts, 2), where in the text each begins and ends, both "
     "0 for none; identities uint64 (rows, 2), a keyed hash of the texts, never all zeros."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot projection_slots[] = {
    {Py_tp_doc,
     "Projection(tables, shape, key)\n\nReads named fields of JSON documents into columns.\n\n"
     "tables: (defaults of the columns, number of texts, whether a row's identity comes from its parent's as well), the "
     "first one for the document itself. shape: a tuple of fields, each (name, kind, slot, inner shape, required); the "
     "slot is a column, the number of a text or, of ROWS, a table behind the field's own. key: 16 secret bytes."},
    {Py_tp_new, projection_new},
    {Py_tp_dealloc, projection_dealloc},
    {Py_tp_methods, projection_methods},
    {0, NULL},
};

static PyType_Spec projection_spec = {
    "collector.sources._projection.Projection",
    sizeof(Projection),
    0,
    Py_TPFLAGS_DEFAULT,
    projection_slots,
};

static int
module_exec(PyObject *module)
{
    static const struct {
        const char *name;
        int value;
    } constants[] = {{"INTEGER", INTEGER}, {"TIME", TIME}, {"TEXT", TEXT},
                     {"OBJECT", OBJECT},   {"ROWS", ROWS}, {"NOTHING", NOTHING}};
    PyObject *type = PyType_FromModuleAndSpec(module, &projection_spec, NULL);

    if (!type || PyModule_AddObjectRef(module, "Projection", type) < 0) {
        Py_XDECREF(type);
        return -1;
    }
    Py_DECREF(type);
    for (size_t i = 0; i < sizeof(constants) / sizeof(*constants); i++) {
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0) {
            return -1;
        }
    }
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_projection",
    .m_doc = "JSON to columns. See collector/sources/projection.py.",
    .m_size = 0,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__projection(void)
{
    return PyModuleDef_Init(&module_definition);
}
