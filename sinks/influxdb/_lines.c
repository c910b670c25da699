/* Columns to line protocol: the hot loop of the InfluxDB sink. See sinks/influxdb/lines.py, whose `write_plainly` does
 * the same in Python and says what is written.
 *
 * Floats: Schubfach (Raffaello Giulietti, "The Schubfach way to render doubles") finds the fewest digits that read back
 * equal, the nearest of them. Powers of ten that fit 128 bits exactly are enough for numbers of everyday size; others,
 * and those without a fraction from 2^53 on, are written by the Python function that is passed.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef unsigned __int128 uint128_t;

#define TILE 64          /* rows gathered together: the columns are read along, not across */
#define NUMBER 32        /* bytes that are enough for an integer with its suffix */
#define POWERS 56        /* 5^55 is the last below 2^128 */
#define LEAST_EXPONENT (-120) /* of the 53-bit significand: numbers from 2^-68 on */
#define DECIMAL 64       /* bytes that are enough for such a float: a sign, 21 zeros, 17 digits, a point */

typedef struct {
    const char *name; /* with the equals sign */
    Py_ssize_t length;
    Py_ssize_t column;
    bool is_float;
} Field;

typedef struct {
    const char *head; /* the measurement */
    Py_ssize_t length;
    int first, count; /* its fields */
} Series;

typedef struct {
    Series *series;
    Field *fields;
    Py_ssize_t count;
    int fields_count;
} Form;

static uint64_t powers[POWERS][2]; /* 10^k, its highest bit the highest of 128: high, low */
static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                  "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                  "8081828384858687888990919293949596979899";

static void
make_powers(void)
{
    uint128_t power = 1;

    for (int k = 0; k < POWERS; k++) {
        uint128_t shifted = power;
        while (!(shifted >> 127)) {
            shifted <<= 1;
        }
        powers[k][0] = (uint64_t)(shifted >> 64);
        powers[k][1] = (uint64_t)shifted;
        power *= 5; /* the factors of two only shift; the last product is not used */
    }
}

static int
digits_of(uint64_t value)
{
    static const uint64_t limits[] = {
        UINT64_C(10), UINT64_C(100), UINT64_C(1000), UINT64_C(10000), UINT64_C(100000), UINT64_C(1000000),
        UINT64_C(10000000), UINT64_C(100000000), UINT64_C(1000000000), UINT64_C(10000000000), UINT64_C(100000000000),
        UINT64_C(1000000000000), UINT64_C(10000000000000), UINT64_C(100000000000000), UINT64_C(1000000000000000),
        UINT64_C(10000000000000000), UINT64_C(100000000000000000), UINT64_C(1000000000000000000),
        UINT64_C(10000000000000000000),
    };
    int guess = (64 - __builtin_clzll(value | 1)) * 1233 >> 12; /* log10(2) is 1233/4096, nearly */

    return guess + 1 - (guess > 0 && value < limits[guess - 1]);
}

/* `value` in exactly `count` digits, which are enough. */
static void
put_digits(char *out, uint64_t value, int count)
{
    char *p = out + count;

    while (p - out >= 2) {
        p -= 2;
        memcpy(p, digit_pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (p > out) {
        *out = (char)('0' + value % 10);
    }
}

static char *
put_unsigned(char *out, uint64_t value)
{
    int count = digits_of(value);

    put_digits(out, value, count);
    return out + count;
}

static char *
put_integer(char *out, int64_t value)
{
    uint64_t magnitude = (uint64_t)value;

    if (value < 0) {
        *out++ = '-';
        magnitude = -magnitude;
    }
    out = put_unsigned(out, magnitude);
    *out++ = 'i';
    return out;
}

/* floor(x / 2^by) for negative x too, without leaning on how the compiler shifts. */
static int
shifted_down(int x, int by)
{
    return x >= 0 ? x >> by : -((-x + (1 << by) - 1) >> by);
}

static uint64_t
round_to_odd(const uint64_t *power, uint64_t factor)
{
    uint128_t low = (uint128_t)power[1] * factor;
    uint128_t high = (uint128_t)power[0] * factor + (uint64_t)(low >> 64);

    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* The decimal nearest to `significand` x 2^`exponent` among the shortest: digits, and in `scale` the power of ten. */
static uint64_t
shortest(uint64_t significand, int exponent, int *scale)
{
    bool even = significand % 2 == 0;
    bool closer_below = significand == UINT64_C(1) << 52;
    int k = shifted_down(exponent * 1262611 - (closer_below ? 524031 : 0), 22);
    const uint64_t *power = powers[-k];
    int shift = exponent + shifted_down(-k * 1741647, 19) + 1;
    uint64_t below = round_to_odd(power, (4 * significand - 2 + closer_below) << shift) + !even;
    uint64_t value = round_to_odd(power, 4 * significand << shift);
    uint64_t above = round_to_odd(power, (4 * significand + 2) << shift) - !even;
    uint64_t digits = value / 4;

    if (digits >= 10) {
        uint64_t fewer = digits / 10;
        bool down = below <= 40 * fewer, up = 40 * fewer + 40 <= above;
        if (down != up) {
            *scale = k + 1;
            return fewer + up;
        }
    }
    *scale = k;
    bool down = below <= 4 * digits, up = 4 * digits + 4 <= above;
    if (down != up) {
        return digits + up;
    }
    uint64_t middle = 4 * digits + 2;
    return digits + (value > middle || (value == middle && digits % 2 == 1));
}

/* A float of everyday size, at most DECIMAL bytes; NULL for the others. */
static char *
put_float(char *out, uint64_t bits)
{
    uint64_t significand = bits & ((UINT64_C(1) << 52) - 1);
    int exponent = (int)(bits >> 52 & 0x7ff) - 1075;
    int scale = 0;

    if (bits >> 63) {
        *out++ = '-';
    }
    if (!(bits << 1)) {
        *out++ = '0';
        return out;
    }
    if (exponent < LEAST_EXPONENT || exponent >= 0) {
        return NULL;
    }
    significand |= UINT64_C(1) << 52;
    if (exponent >= -52 && !(significand & ((UINT64_C(1) << -exponent) - 1))) {
        return put_unsigned(out, significand >> -exponent);
    }
    uint64_t digits = shortest(significand, exponent, &scale);
    while (digits % 10 == 0) {
        digits /= 10;
        scale++;
    }
    int count = digits_of(digits), behind = -scale;
    if (behind <= 0) { /* the nearest short decimal of a fraction may be whole */
        out = put_unsigned(out, digits);
        memset(out, '0', (size_t)scale);
        return out + scale;
    }
    if (behind >= count) {
        *out++ = '0';
        *out++ = '.';
        memset(out, '0', (size_t)(behind - count));
        out += behind - count;
        put_digits(out, digits, count);
        return out + count;
    }
    put_digits(out, digits, count);
    memmove(out + count - behind + 1, out + count - behind, (size_t)behind);
    out[count - behind] = '.';
    return out + count + 1;
}

static bool
read_field(Field *field, PyObject *described, Py_ssize_t columns)
{
    int is_float;

    if (!PyArg_ParseTuple(described, "y#np", &field->name, &field->length, &field->column, &is_float)) {
        return false;
    }
    field->is_float = is_float;
    if (field->column < 0 || field->column >= columns) {
        PyErr_Format(PyExc_IndexError, "no column %zd", field->column);
        return false;
    }
    return true;
}

/* What is written, as the caller describes it; false with an exception set. */
static bool
read_form(Form *form, PyObject *described, Py_ssize_t columns)
{
    PyObject *fields;

    form->count = PyTuple_Size(described);
    if (!(form->series = PyMem_Calloc((size_t)form->count + 1, sizeof(Series)))) {
        return PyErr_NoMemory(), false;
    }
    for (Py_ssize_t s = 0; s < form->count; s++) {
        Series *series = form->series + s;
        if (!PyArg_ParseTuple(PyTuple_GetItem(described, s), "y#O!", &series->head, &series->length, &PyTuple_Type,
                              &fields)) {
            return false;
        }
        series->first = form->fields_count;
        series->count = (int)PyTuple_Size(fields);
        form->fields_count += series->count;
    }
    if (!(form->fields = PyMem_Calloc((size_t)form->fields_count + 1, sizeof(Field)))) {
        return PyErr_NoMemory(), false;
    }
    for (Py_ssize_t s = 0; s < form->count; s++) {
        fields = PyTuple_GetItem(PyTuple_GetItem(described, s), 1);
        for (int f = 0; f < form->series[s].count; f++) {
            if (!read_field(form->fields + form->series[s].first + f, PyTuple_GetItem(fields, f), columns)) {
                return false;
            }
        }
    }
    return true;
}

typedef struct {
    Form form;
    const char *tail;
    Py_ssize_t tail_length;
    PyObject *tags, *own, *float_text;
    Py_buffer rows, cells, present, places, out;
    Py_ssize_t width; /* rows of a column */
    int64_t *values;  /* (TILE, fields) */
    uint8_t *there;   /* the same */
    Py_ssize_t omitted;
} Job;

/* The cells of up to TILE rows from the listed one on. */
static void
gather(Job *job, Py_ssize_t first, Py_ssize_t count)
{
    const int64_t *rows = (const int64_t *)job->rows.buf + first;
    int fields = job->form.fields_count;

    for (int f = 0; f < fields; f++) {
        Py_ssize_t column = job->form.fields[f].column * job->width;
        const int64_t *cells = (const int64_t *)job->cells.buf + column;
        const uint8_t *present = (const uint8_t *)job->present.buf + column;
        int64_t *value = job->values + f;
        uint8_t *there = job->there + f;
        for (Py_ssize_t t = 0; t < count; t++, value += fields, there += fields) {
            *there = present[rows[t]];
            if (*there) { /* where nothing is present the page may never have been touched */
                *value = cells[rows[t]];
            }
        }
    }
}

/* The tags of the listed row `i`: two parts, and what stands in between. */
typedef struct {
    const char *text, *own;
    Py_ssize_t length, place, own_length;
} Tags;

static bool
read_bytes(PyObject *list, Py_ssize_t i, const char **text, Py_ssize_t *length)
{
    PyObject *item = PyList_GetItem(list, i); /* borrowed: the list is the caller's, who waits */

    return item && !PyBytes_AsStringAndSize(item, (char **)text, length);
}

static bool
read_tags(const Job *job, Py_ssize_t i, Tags *tags)
{
    *tags = (Tags){0};
    if (!read_bytes(job->tags, i, &tags->text, &tags->length)) {
        return false;
    }
    tags->place = tags->length;
    if (job->own == Py_None) {
        return true;
    }
    if (!read_bytes(job->own, i, &tags->own, &tags->own_length)) {
        return false;
    }
    tags->place = ((const int32_t *)job->places.buf)[i];
    if (tags->place < 0 || tags->place > tags->length) {
        PyErr_Format(PyExc_IndexError, "tags %zd have no place %zd", i, tags->place);
        return false;
    }
    return true;
}

typedef enum { WRITTEN, NOTHING, FULL, FAILED } Outcome;

static Outcome
ask_for_float(const Job *job, uint64_t bits, char **p, const char *end)
{
    double value;
    Py_ssize_t length;

    memcpy(&value, &bits, sizeof(value));
    PyObject *text = PyObject_CallFunction(job->float_text, "d", value);
    const char *utf8 = text ? PyUnicode_AsUTF8AndSize(text, &length) : NULL;
    Outcome outcome = !utf8 ? FAILED : end - *p < length ? FULL : WRITTEN;
    if (outcome == WRITTEN) {
        memcpy(*p, utf8, (size_t)length);
        *p += length;
    }
    Py_XDECREF(text);
    return outcome;
}

static char *
put(char *p, const char *text, Py_ssize_t length)
{
    memcpy(p, text, (size_t)length);
    return p + length;
}

/* One line at *at, which moves behind it; FULL leaves it where it was. */
static Outcome
put_line(Job *job, const Series *series, const Tags *tags, const int64_t *values, const uint8_t *there, char **at)
{
    const char *end = (const char *)job->out.buf + job->out.len;
    char *p = *at;
    Py_ssize_t omitted = 0;
    bool any = false;

    for (int f = series->first; f < series->first + series->count; f++) {
        const Field *field = job->form.fields + f;
        if (!there[f]) {
            continue;
        }
        uint64_t bits = (uint64_t)values[f];
        if (field->is_float && (bits >> 52 & 0x7ff) == 0x7ff) {
            omitted++;
            continue;
        }
        if (!any) {
            if (end - p < series->length + tags->length + tags->own_length) {
                return FULL;
            }
            p = put(p, series->head, series->length);
            p = put(p, tags->text, tags->place);
            if (tags->own_length) {
                p = put(p, tags->own, tags->own_length);
            }
            p = put(p, tags->text + tags->place, tags->length - tags->place);
        }
        if (end - p < 1 + field->length + (field->is_float ? DECIMAL : NUMBER)) {
            return FULL;
        }
        *p++ = any ? ',' : ' ';
        any = true;
        p = put(p, field->name, field->length);
        if (!field->is_float) {
            p = put_integer(p, values[f]);
            continue;
        }
        char *behind = put_float(p, bits);
        if (behind) {
            p = behind;
            continue;
        }
        Outcome outcome = ask_for_float(job, bits, &p, end);
        if (outcome != WRITTEN) {
            return outcome;
        }
    }
    if (any) {
        if (end - p < job->tail_length) {
            return FULL;
        }
        *at = put(p, job->tail, job->tail_length);
    }
    job->omitted += omitted;
    return any ? WRITTEN : NOTHING;
}

/* Lines from position *next on, which moves; at most `most`, as many as there is room for. Their number, -1: exception. */
static Py_ssize_t
put_lines(Job *job, Py_ssize_t *at, Py_ssize_t *next, Py_ssize_t most)
{
    Py_ssize_t series = job->form.count, listed = PyList_Size(job->tags), lines = 0, gathered = 0, first = 0;
    int fields = job->form.fields_count;
    char *p = (char *)job->out.buf + *at;

    for (Py_ssize_t i = *next / series, s = *next % series; i < listed; i++, s = 0) {
        Tags tags;
        if (i >= gathered) {
            first = i;
            gathered = listed - i < TILE ? listed : i + TILE;
            gather(job, first, gathered - first);
        }
        if (!read_tags(job, i, &tags)) {
            return -1;
        }
        for (; s < series; s++) {
            Py_ssize_t offset = (i - first) * fields;
            Outcome outcome = lines == most ? FULL
                                            : put_line(job, job->form.series + s, &tags, job->values + offset,
                                                       job->there + offset, &p);
            if (outcome == FAILED) {
                return -1;
            }
            *next = i * series + s;
            if (outcome == FULL) {
                *at = p - (char *)job->out.buf;
                return lines;
            }
            lines += outcome == WRITTEN;
        }
    }
    *next = listed * series;
    *at = p - (char *)job->out.buf;
    return lines;
}

static bool
consistent(const Job *job)
{
    Py_ssize_t listed = PyList_Size(job->tags);
    const int64_t *rows = job->rows.buf;

    if (job->cells.ndim != 2 || job->present.ndim != 2 || job->cells.itemsize != 8 || job->present.itemsize != 1 ||
        job->cells.shape[0] > job->present.shape[0] || job->cells.shape[1] != job->present.shape[1]) {
        PyErr_SetString(PyExc_ValueError, "cells and present are int64 and bool of one shape");
        return false;
    }
    if (job->rows.itemsize != 8 || job->rows.len != listed * 8 ||
        (job->own != Py_None &&
         (job->places.itemsize != 4 || job->places.len != listed * 4 || PyList_Size(job->own) != listed))) {
        PyErr_SetString(PyExc_ValueError, "rows (int64), tags, places (int32) and own are of one length");
        return false;
    }
    for (Py_ssize_t i = 0; i < listed; i++) {
        if (rows[i] < 0 || rows[i] >= job->cells.shape[1]) {
            PyErr_Format(PyExc_IndexError, "no row %lld", (long long)rows[i]);
            return false;
        }
    }
    return true;
}

static PyObject *
run(Job *job, PyObject *series, Py_ssize_t at, Py_ssize_t next, Py_ssize_t most)
{
    if (!consistent(job) || !read_form(&job->form, series, job->cells.shape[0])) {
        return NULL;
    }
    if (at < 0 || at > job->out.len || next < 0 || most < 0) {
        PyErr_SetString(PyExc_ValueError, "at, next or most is out of bounds");
        return NULL;
    }
    size_t cells = (size_t)job->form.fields_count * TILE + 1;
    job->width = job->cells.shape[1];
    job->values = PyMem_Malloc(cells * sizeof(*job->values));
    job->there = PyMem_Malloc(cells);
    if (!job->values || !job->there) {
        return PyErr_NoMemory();
    }
    Py_ssize_t lines = job->form.count ? put_lines(job, &at, &next, most) : 0;
    return lines < 0 ? NULL : Py_BuildValue("nnnn", at, next, lines, job->omitted);
}

static PyObject *
lines_write(PyObject *Py_UNUSED(module), PyObject *args)
{
    Job job = {0};
    PyObject *series, *rows, *cells, *present, *places, *out, *result = NULL;
    Py_ssize_t at, next, most;

    if (!PyArg_ParseTuple(args, "O!y#O!OOOOOOnnnO", &PyTuple_Type, &series, &job.tail, &job.tail_length, &PyList_Type,
                          &job.tags, &rows, &cells, &present, &places, &job.own, &out, &at, &next, &most,
                          &job.float_text)) {
        return NULL;
    }
    if (job.own != Py_None && !PyList_Check(job.own)) {
        PyErr_SetString(PyExc_TypeError, "own is a list or None");
        return NULL;
    }
    if (!PyObject_GetBuffer(rows, &job.rows, PyBUF_ND) && !PyObject_GetBuffer(cells, &job.cells, PyBUF_ND) &&
        !PyObject_GetBuffer(present, &job.present, PyBUF_ND) &&
        (job.own == Py_None || !PyObject_GetBuffer(places, &job.places, PyBUF_ND)) &&
        !PyObject_GetBuffer(out, &job.out, PyBUF_WRITABLE)) {
        result = run(&job, series, at, next, most);
    }
    PyMem_Free(job.form.series);
    PyMem_Free(job.form.fields);
    PyMem_Free(job.values);
    PyMem_Free(job.there);
    PyBuffer_Release(&job.rows);
    PyBuffer_Release(&job.cells);
    PyBuffer_Release(&job.present);
    PyBuffer_Release(&job.places);
    PyBuffer_Release(&job.out);
    return result;
}

static PyMethodDef methods[] = {
    {"write",
     lines_write,
     METH_VARARGS,
     "write(series, tail, tags, rows, cells, present, places, own, out, at, next, most, float_text)\n"
     "    -> (at, next, lines, omitted)\n\nSee sinks/influxdb/lines.py."},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *Py_UNUSED(module))
{
    make_powers();
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_lines",
    .m_doc = "Columns to line protocol. See sinks/influxdb/lines.py.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__lines(void)
{
    return PyModuleDef_Init(&module_definition);
}
