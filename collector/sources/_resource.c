/* Prometheus text to numbers, for text of which only the numbers change.
 *
 * A Reader is told once which families it shall read. The form of a document is a keyed hash of everything in these
 * families but the numbers: their order, their label texts, and the whole text of families that seldom change. Whoever
 * knows what the numbers of one form mean gets those of every other document of that form, as integers in the order of
 * the text, without a Python object for any of them.
 *
 * A document is refused whole as soon as anything in it is unlike what kubelets write: a sample without a time, a
 * second blank, a comment that is neither HELP nor TYPE, a family twice, a negative number, one with a fraction where
 * whole ones are wanted, one that a float64 could not hold exactly. Who calls has a slower decoder for those, so that
 * none of the questions the format leaves open is decided here. What stands in families that are not read is not
 * looked at, but for their first sample's name.
 *
 * Nothing reads behind the document's end: it is a line feed, and no rule goes beyond one.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { SECONDS, WHOLE, TEXT, KINDS };

#define MAX_FAMILIES 32
#define MAX_NAME 127
#define MAX_LABELS 65536
#define MAX_SKIPPED 4 /* lines of the first family that another one may leave out in one place */
#define TIME_DIGITS 13 /* of milliseconds since 1970, from 2001 to 2286 */
#define MOST_MILLISECONDS (INT64_MAX / 1000000 - 1)
#define MOST_NANOSECONDS (UINT64_C(9200000000) * 1000000000)
#define MOST_WHOLE (UINT64_C(1) << 53)
#define MOST_CELLS ((Py_ssize_t)1 << 27)
#define KEPT_CELLS ((Py_ssize_t)1 << 18) /* more are given back to the system when they are taken */

#define ONES UINT64_C(0x0101010101010101)
#define HIGH (ONES * 0x80)

typedef struct {
    char name[MAX_NAME + 1];
    size_t length;
    int kind;
} Family;

typedef struct {
    const uint8_t *begin;
    size_t length;
} Span;

typedef struct {
    Span *items;
    Py_ssize_t count, capacity;
} Spans;

typedef struct {
    uint64_t v[4];
} Hash;

typedef struct {
    PyObject_HEAD
    uint64_t key[2];
    int count;
    Family families[MAX_FAMILIES];
    Spans labels; /* of the first family with labels in the document being read, without their braces */
    Spans rests;  /* while looking: what stands behind the labels in families that are TEXT */
    int32_t *lines; /* while looking: of each sample the number of its labels in `labels`, -1 for none */
    Py_ssize_t line_count, line_capacity;
    bool looking;
    int64_t *cells; /* of the documents added, and behind them those of the one being read */
    Py_ssize_t cell_count, cell_capacity;
    int order[MAX_FAMILIES]; /* the families of the document read last */
    Py_ssize_t samples[MAX_FAMILIES]; /* of each of these */
    int found;
    bool no_memory;
} Reader;

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

/* SipHash-1-3 with 128 bits, over words. Every text is fed behind a word with its sort and its length, so that what was
 * fed can be told from the words. */

enum { FAMILY = 1, LABELS, SAME_LABELS, NO_LABELS, REST, FAMILY_END };

static inline uint64_t
rotated(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static inline void
sip_round(Hash *h)
{
    uint64_t a = h->v[0], b = h->v[1], c = h->v[2], d = h->v[3];

    a += b;
    b = rotated(b, 13) ^ a;
    a = rotated(a, 32);
    c += d;
    d = rotated(d, 16) ^ c;
    a += d;
    d = rotated(d, 21) ^ a;
    c += b;
    b = rotated(b, 17) ^ c;
    c = rotated(c, 32);
    h->v[0] = a;
    h->v[1] = b;
    h->v[2] = c;
    h->v[3] = d;
}

static void
begin_hash(Hash *h, const uint64_t key[2])
{
    h->v[0] = key[0] ^ UINT64_C(0x736f6d6570736575);
    h->v[1] = key[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee;
    h->v[2] = key[0] ^ UINT64_C(0x6c7967656e657261);
    h->v[3] = key[1] ^ UINT64_C(0x7465646279746573);
}

static inline void
feed(Hash *h, uint64_t word)
{
    h->v[3] ^= word;
    sip_round(h);
    h->v[0] ^= word;
}

static inline void
feed_sort(Hash *h, int sort, size_t number)
{
    feed(h, (uint64_t)sort | (uint64_t)number << 8);
}

static void
feed_text(Hash *h, int sort, const uint8_t *p, size_t length, const uint8_t *end)
{
    feed_sort(h, sort, length);
    for (; length >= 8; length -= 8, p += 8) {
        feed(h, word_at(p));
    }
    if (length) {
        uint64_t last = 0;
        if (end - p >= 8) {
            last = word_at(p) & ((UINT64_C(1) << 8 * length) - 1);
        }
        else {
            for (size_t i = 0; i < length; i++) {
                last |= (uint64_t)p[i] << 8 * i;
            }
        }
        feed(h, last);
    }
}

static void
end_hash(Hash *h, uint8_t form[16])
{
    h->v[2] ^= 0xee;
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 3; i++) {
            sip_round(h);
        }
        uint64_t x = h->v[0] ^ h->v[1] ^ h->v[2] ^ h->v[3];
        for (int i = 0; i < 8; i++) {
            form[8 * half + i] = (uint8_t)(x >> 8 * i);
        }
        h->v[1] ^= 0xdd;
    }
}

/* Numbers. */

static const uint64_t TENS[20] = {
    UINT64_C(1),
    UINT64_C(10),
    UINT64_C(100),
    UINT64_C(1000),
    UINT64_C(10000),
    UINT64_C(100000),
    UINT64_C(1000000),
    UINT64_C(10000000),
    UINT64_C(100000000),
    UINT64_C(1000000000),
    UINT64_C(10000000000),
    UINT64_C(100000000000),
    UINT64_C(1000000000000),
    UINT64_C(10000000000000),
    UINT64_C(100000000000000),
    UINT64_C(1000000000000000),
    UINT64_C(10000000000000000),
    UINT64_C(100000000000000000),
    UINT64_C(1000000000000000000),
    UINT64_C(10000000000000000000),
};

/* digits [. digits] [e [+|-] digits] times ten to `shift`, where that is a whole number of at most `most`. */
static const uint8_t *
read_number(const uint8_t *p, int shift, uint64_t most, int64_t *value)
{
    uint64_t sum = 0;
    const uint8_t *first = p;

    for (; *p >= '0' && *p <= '9'; p++) {
        if (sum > UINT64_MAX / 10 - 1) {
            return NULL;
        }
        sum = sum * 10 + (*p - '0');
    }
    if (p == first) {
        return NULL;
    }
    if (*p == '.') {
        first = ++p;
        for (; *p >= '0' && *p <= '9'; p++) {
            if (sum > UINT64_MAX / 10 - 1 || p - first > 64) {
                return NULL;
            }
            sum = sum * 10 + (*p - '0');
        }
        if (p == first) {
            return NULL;
        }
        shift -= (int)(p - first);
    }
    if (*p == 'e' || *p == 'E') {
        bool negative = *++p == '-';
        int exponent = 0;
        p += *p == '-' || *p == '+';
        for (first = p; *p >= '0' && *p <= '9'; p++) {
            if (p - first == 3) {
                return NULL;
            }
            exponent = exponent * 10 + (*p - '0');
        }
        if (p == first) {
            return NULL;
        }
        shift += negative ? -exponent : exponent;
    }
    if (sum) {
        if (shift < -19 || shift > 19) {
            return NULL;
        }
        if (shift < 0) {
            if (sum % TENS[-shift]) {
                return NULL;
            }
            sum /= TENS[-shift];
        }
        else if (shift) {
            if (sum > most / TENS[shift]) {
                return NULL;
            }
            sum *= TENS[shift];
        }
        if (sum > most) {
            return NULL;
        }
    }
    *value = (int64_t)sum;
    return p;
}

/* Milliseconds and the line feed behind them; returns what follows. */
static inline const uint8_t *
read_time(const uint8_t *p, const uint8_t *end, int64_t *milliseconds)
{
    if (end - p <= TIME_DIGITS || p[TIME_DIGITS] != '\n') {
        return NULL;
    }
    uint64_t x = word_at(p), digits = x - ONES * '0';
    if (((x + ONES * 0x46) | digits | x) & HIGH) {
        return NULL;
    }
    digits = (digits * 10 + (digits >> 8)) & UINT64_C(0x00FF00FF00FF00FF);
    digits = (digits * 100 + (digits >> 16)) & UINT64_C(0x0000FFFF0000FFFF);
    digits = (digits * 10000 + (digits >> 32)) & UINT64_C(0xFFFFFFFF);
    for (int i = 8; i < TIME_DIGITS; i++) {
        unsigned digit = p[i] - (unsigned)'0';
        if (digit > 9) {
            return NULL;
        }
        digits = digits * 10 + digit;
    }
    *milliseconds = (int64_t)digits;
    return p + TIME_DIGITS + 1;
}

/* Lines. */

/* The closing brace of labels; NULL where the line ends before. */
static inline const uint8_t *
closing_brace(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 8) {
        uint64_t x = word_at(p), brace = x ^ (ONES * '}'), feed_ = x ^ (ONES * '\n');
        /* The lowest mark is exact; a borrow can only make a wrong one above a right one. */
        uint64_t marks = (((brace - ONES) & ~brace) | ((feed_ - ONES) & ~feed_)) & HIGH;
        if (marks) {
            p += __builtin_ctzll(marks) >> 3;
            return *p == '}' ? p : NULL;
        }
        p += 8;
    }
    while (p < end && *p != '}' && *p != '\n') {
        p++;
    }
    return p < end && *p == '}' ? p : NULL;
}

/* Room for one more item; what is returned is where the items are now, NULL without memory. */
static void *
room(Reader *self, void *items, size_t size, Py_ssize_t count, Py_ssize_t *capacity)
{
    if (count < *capacity) {
        return items;
    }
    Py_ssize_t wanted = *capacity ? 2 * *capacity : 256;
    void *grown = wanted > MOST_CELLS ? NULL : PyMem_Realloc(items, (size_t)wanted * size);
    if (grown) {
        *capacity = wanted;
    }
    self->no_memory = !grown;
    return grown;
}

static bool
keep_span(Reader *self, Spans *spans, const uint8_t *begin, size_t length)
{
    Span *items = room(self, spans->items, sizeof(Span), spans->count, &spans->capacity);
    if (!items) {
        return false;
    }
    spans->items = items;
    items[spans->count++] = (Span){begin, length};
    return true;
}

static bool
keep_line(Reader *self, Py_ssize_t number)
{
    int32_t *lines = room(self, self->lines, sizeof(int32_t), self->line_count, &self->line_capacity);
    if (!lines) {
        return false;
    }
    self->lines = lines;
    lines[self->line_count++] = (int32_t)number;
    return true;
}

static bool
reserve_cells(Reader *self, Py_ssize_t needed)
{
    if (needed > self->cell_capacity) {
        Py_ssize_t capacity = self->cell_capacity ? self->cell_capacity : 4096;
        while (capacity < needed) {
            capacity *= 2;
        }
        int64_t *cells =
            capacity > MOST_CELLS ? NULL : PyMem_Realloc(self->cells, (size_t)capacity * sizeof(int64_t));
        if (!cells) {
            self->no_memory = true;
            return false;
        }
        self->cells = cells;
        self->cell_capacity = capacity;
    }
    return true;
}

/* From behind the opening brace to behind the closing one. Most families have the labels of the first one, in its
 * order: then it is enough to say so. `*at` is where the next sample's are to be found there; behind those of this one
 * afterwards, and as it was where they are not there. */
static const uint8_t *
read_labels(Reader *self, Hash *h, const uint8_t *p, const uint8_t *end, bool first, Py_ssize_t *at)
{
    if (!first) {
        for (Py_ssize_t i = *at; i < self->labels.count && i < *at + MAX_SKIPPED; i++) {
            const Span *known = self->labels.items + i;
            if ((size_t)(end - p) > known->length && !memcmp(p, known->begin, known->length + 1)) {
                feed_sort(h, SAME_LABELS, (size_t)i);
                *at = i + 1;
                return p + known->length + 1;
            }
        }
    }
    const uint8_t *brace = closing_brace(p, end);
    if (!brace || brace - p > MAX_LABELS) {
        return NULL;
    }
    if (first) {
        if (!keep_span(self, &self->labels, p, (size_t)(brace - p))) {
            return NULL;
        }
        *at = self->labels.count;
    }
    feed_text(h, LABELS, p, (size_t)(brace - p), end);
    return brace + 1;
}

/* The samples of a family up to `end`, which follows a line feed; their number, -1 where one is refused. */
static Py_ssize_t
read_samples(Reader *self, Hash *h, const Family *family, const uint8_t *p, const uint8_t *end, Py_ssize_t *cells)
{
    bool first = !self->labels.count;
    Py_ssize_t samples = 0, at = 0, before;
    int64_t value, time;

    for (; p < end; samples++) {
        if ((size_t)(end - p) <= family->length || memcmp(p, family->name, family->length)) {
            return -1;
        }
        p += family->length;
        before = at;
        if (*p == '{') {
            p = read_labels(self, h, p + 1, end, first, &at);
            if (!p) {
                return -1;
            }
        }
        else {
            feed_sort(h, NO_LABELS, 0);
        }
        if (*p++ != ' ' || (self->looking && !keep_line(self, at > before ? at - 1 : -1))) {
            return -1;
        }
        if (family->kind == TEXT) {
            const uint8_t *feed_ = memchr(p, '\n', (size_t)(end - p));
            if (!feed_ || (self->looking && !keep_span(self, &self->rests, p, (size_t)(feed_ - p)))) {
                return -1;
            }
            feed_text(h, REST, p, (size_t)(feed_ - p), end);
            p = feed_ + 1;
            continue;
        }
        p = family->kind == SECONDS ? read_number(p, 9, MOST_NANOSECONDS, &value) : read_number(p, 0, MOST_WHOLE, &value);
        if (!p || *p != ' ' || !(p = read_time(p + 1, end, &time)) || !reserve_cells(self, *cells + 2)) {
            return -1;
        }
        self->cells[(*cells)++] = value;
        if (family->kind == SECONDS) {
            if (time > MOST_MILLISECONDS) {
                return -1;
            }
            self->cells[(*cells)++] = time * 1000000;
        }
    }
    return samples;
}

static int
family_of(const Reader *self, const uint8_t *name, size_t length)
{
    for (int i = 0; i < self->count; i++) {
        if (self->families[i].length == length && !memcmp(self->families[i].name, name, length)) {
            return i;
        }
    }
    return -1;
}

/* Reads a document; its cells lie behind those that count, up to what is returned. -1 when it is refused. */
static Py_ssize_t
read_document(Reader *self, const uint8_t *p, size_t size, uint8_t form[16])
{
    const uint8_t *end = p + size, *stop;
    Py_ssize_t cells = self->cell_count;
    uint32_t seen = 0;
    Hash h;

    self->labels.count = self->rests.count = self->line_count = 0;
    self->found = 0;
    if (!size || *p != '#' || end[-1] != '\n') {
        return -1;
    }
    begin_hash(&h, self->key);
    for (; p < end; p = stop) { /* from one hash mark to the next: all of them begin lines */
        stop = memchr(p + 1, '#', (size_t)(end - p - 1));
        stop = stop ? stop : end;
        if (stop[-1] != '\n' || stop - p < 8) {
            return -1;
        }
        const uint8_t *line_end = memchr(p, '\n', (size_t)(stop - p));
        if (!memcmp(p, "# HELP ", 7)) {
            if (line_end != stop - 1) {
                return -1;
            }
            continue;
        }
        if (memcmp(p, "# TYPE ", 7) || line_end - p < 7) {
            return -1;
        }
        const uint8_t *name = p + 7, *samples = line_end + 1;
        const uint8_t *name_end = memchr(name, ' ', (size_t)(line_end - name));
        if (!name_end) {
            return -1;
        }
        size_t length = (size_t)(name_end - name);
        /* A name that is cut short, or missing, would hide samples: the first one tells. */
        if (samples < stop && ((size_t)(stop - samples) <= length || memcmp(samples, name, length) ||
                               (samples[length] != '{' && samples[length] != ' '))) {
            return -1;
        }
        int i = family_of(self, name, length);
        if (i < 0) {
            continue;
        }
        if (seen >> i & 1) {
            return -1;
        }
        seen |= UINT32_C(1) << i;
        feed_sort(&h, FAMILY, (size_t)i);
        Py_ssize_t count = read_samples(self, &h, self->families + i, samples, stop, &cells);
        if (count < 0) {
            return -1;
        }
        feed_sort(&h, FAMILY_END, (size_t)count);
        self->order[self->found] = i;
        self->samples[self->found++] = count;
    }
    end_hash(&h, form);
    return cells;
}

/* The type. */

static PyObject *
reader_add(Reader *self, PyObject *arguments)
{
    Py_buffer document;
    const char *wanted;
    Py_ssize_t size;
    uint8_t form[16];

    if (!PyArg_ParseTuple(arguments, "y*y#:add", &document, &wanted, &size)) {
        return NULL;
    }
    self->no_memory = self->looking = false;
    Py_ssize_t cells = read_document(self, document.buf, (size_t)document.len, form);
    PyBuffer_Release(&document);
    if (self->no_memory) {
        self->cell_count = 0;
        return PyErr_NoMemory();
    }
    if (cells < 0 || size != sizeof form || memcmp(form, wanted, sizeof form)) {
        Py_RETURN_FALSE;
    }
    self->cell_count = cells;
    Py_RETURN_TRUE;
}

/* The texts, a line feed behind each. */
static PyObject *
joined(const Spans *spans)
{
    size_t size = 0;
    for (Py_ssize_t i = 0; i < spans->count; i++) {
        size += spans->items[i].length + 1;
    }
    PyObject *text = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)size);
    char *to = text ? PyByteArray_AsString(text) : NULL;
    for (Py_ssize_t i = 0; to && i < spans->count; i++) {
        memcpy(to, spans->items[i].begin, spans->items[i].length);
        to += spans->items[i].length;
        *to++ = '\n';
    }
    return text;
}

static PyObject *
numbers(const void *first, Py_ssize_t count, size_t size)
{
    return PyByteArray_FromStringAndSize(count ? first : "", count * (Py_ssize_t)size);
}

static PyObject *
families_found(const Reader *self)
{
    PyObject *order = PyTuple_New(self->found);
    for (int i = 0; order && i < self->found; i++) {
        PyObject *pair = Py_BuildValue("in", self->order[i], self->samples[i]);
        if (!pair || PyTuple_SetItem(order, i, pair) < 0) {
            Py_CLEAR(order);
        }
    }
    return order;
}

static PyObject *
reader_look(Reader *self, PyObject *arguments)
{
    Py_buffer document;
    uint8_t form[16];
    PyObject *found = NULL;

    if (!PyArg_ParseTuple(arguments, "y*:look", &document)) {
        return NULL;
    }
    self->no_memory = false;
    self->looking = true;
    Py_ssize_t cells = read_document(self, document.buf, (size_t)document.len, form);
    if (self->no_memory) {
        PyErr_NoMemory();
    }
    else if (cells < 0) {
        found = Py_NewRef(Py_None);
    }
    else {
        found = Py_BuildValue(
            "y#NNNNN", (const char *)form, (Py_ssize_t)sizeof form, families_found(self),
            numbers(self->cells + self->cell_count, cells - self->cell_count, sizeof(int64_t)),
            numbers(self->lines, self->line_count, sizeof(int32_t)), joined(&self->labels), joined(&self->rests));
    }
    PyBuffer_Release(&document);
    return found;
}

static PyObject *
reader_take(Reader *self, PyObject *nothing)
{
    (void)nothing;
    const char *first = self->cell_count ? (const char *)self->cells : "";
    PyObject *taken = PyByteArray_FromStringAndSize(first, self->cell_count * (Py_ssize_t)sizeof(int64_t));

    self->cell_count = 0;
    if (self->cell_capacity > KEPT_CELLS) {
        PyMem_Free(self->cells);
        self->cells = NULL;
        self->cell_capacity = 0;
    }
    return taken;
}

static PyObject *
reader_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *names[] = {"families", "key", NULL};
    PyObject *families;
    const char *key;
    Py_ssize_t size;

    if (!PyArg_ParseTupleAndKeywords(arguments, named, "O!y#:Reader", names, &PyTuple_Type, &families, &key, &size)) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_Size(families);
    if (count < 1 || count > MAX_FAMILIES || size != 16) {
        PyErr_Format(PyExc_ValueError, "1 to %d families and a key of 16 bytes are needed", MAX_FAMILIES);
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Reader *self = (Reader *)allocate(type, 0); /* all zeros */
    if (!self) {
        return NULL;
    }
    self->key[0] = word_at((const uint8_t *)key);
    self->key[1] = word_at((const uint8_t *)key + 8);
    for (; self->count < count; self->count++) {
        Family *family = self->families + self->count;
        PyObject *given = PyTuple_GetItem(families, self->count);
        const char *name;
        if (!PyTuple_Check(given)) {
            PyErr_SetString(PyExc_TypeError, "a family is a tuple: name, kind");
            Py_DECREF(self);
            return NULL;
        }
        if (!PyArg_ParseTuple(given, "y#i", &name, &size, &family->kind)) {
            Py_DECREF(self);
            return NULL;
        }
        if (size < 1 || size > MAX_NAME || family->kind < 0 || family->kind >= KINDS) {
            PyErr_Format(PyExc_ValueError, "family %R: a name of 1 to %d bytes and a kind are needed", given, MAX_NAME);
            Py_DECREF(self);
            return NULL;
        }
        memcpy(family->name, name, (size_t)size);
        family->length = (size_t)size;
    }
    return (PyObject *)self;
}

static void
reader_dealloc(Reader *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    freefunc release_object = (freefunc)PyType_GetSlot(type, Py_tp_free);

    PyMem_Free(self->labels.items);
    PyMem_Free(self->rests.items);
    PyMem_Free(self->lines);
    PyMem_Free(self->cells);
    release_object(self);
    Py_DECREF(type);
}

static PyMethodDef reader_methods[] = {
    {"add",
     (PyCFunction)reader_add,
     METH_VARARGS,
     "add(document, form) -> bool\n\nRead a document of that form; False when it is refused or of another form, which "
     "leaves no trace. Raises MemoryError, and then forgets all that was added since the last take."},
    {"look",
     (PyCFunction)reader_look,
     METH_VARARGS,
     "look(document) -> (form, families, cells, lines, labels, rests) | None\n\nOf one document, without adding it: its "
     "form; (number, samples) of each family in the order of the text; its cells; int32 for each sample, which of the "
     "labels it has, -1 for none of them; the labels of the first family that has some, and what is behind the labels in "
     "families that are TEXT, each with a line feed behind it. None when it is refused."},
    {"take",
     (PyCFunction)reader_take,
     METH_NOARGS,
     "take() -> bytearray\n\nint64 cells of what was added since the last time: of a SECONDS sample nanoseconds and its "
     "time in nanoseconds since 1970, of a WHOLE one its value."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc,
     "Reader(families, key)\n\nReads the numbers of text in Prometheus' format.\n\nfamilies: (name, kind) each. key: 16 "
     "secret bytes."},
    {Py_tp_new, reader_new},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    "collector.sources._resource.Reader",
    sizeof(Reader),
    0,
    Py_TPFLAGS_DEFAULT,
    reader_slots,
};

static int
module_exec(PyObject *module)
{
    static const struct {
        const char *name;
        int value;
    } constants[] = {{"SECONDS", SECONDS}, {"WHOLE", WHOLE}, {"TEXT", TEXT}};
    PyObject *type = PyType_FromModuleAndSpec(module, &reader_spec, NULL);

    if (!type || PyModule_AddObjectRef(module, "Reader", type) < 0) {
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
    .m_name = "_resource",
    .m_doc = "Prometheus text to numbers. See collector/sources/resourceforms.py.",
    .m_size = 0,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__resource(void)
{
    return PyModuleDef_Init(&module_definition);
}
