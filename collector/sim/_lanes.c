/* Numbers as digits, and digits into an answer. Pure: no object is made or kept.
 *
 * Both are what NumPy does in collector/sim/digits.py, which says what is meant and is what counts where the two should
 * differ. Nothing outside the arrays given is read or written.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LANE 4 /* bytes, and digits */
#define GROUP 10000
#define EIGHT_DIGITS 100000000
#define SIXTEEN_DIGITS 10000000000000000
#define EACH_BYTE 0x0101010101010101u

static bool
array_of(PyObject *object, Py_buffer *view, int dimensions, Py_ssize_t size, int flags, const char *name)
{
    if (PyObject_GetBuffer(object, view, flags) < 0) {
        return false;
    }
    if (view->ndim != dimensions || view->itemsize != size) {
        PyErr_Format(PyExc_ValueError, "%s: wanted %d dimensions of %zd bytes an item, got %d of %zd", name, dimensions,
                     size, view->ndim, view->itemsize);
        PyBuffer_Release(view);
        return false;
    }
    return true;
}

/* Eight digits, a byte each, the highest in the lowest byte: four numbers below 100 are split at once, then eight. */
static inline uint64_t
eight_digits(uint32_t number)
{
    uint64_t groups = number / GROUP | (uint64_t)(number % GROUP) << 32;
    uint64_t hundreds = groups * 10486 >> 20 & 0x0000007F0000007Fu;
    uint64_t tens;

    groups = hundreds | (groups - 100 * hundreds) << 16;
    tens = groups * 103 >> 10 & 0x000F000F000F000Fu;
    return tens | (groups - 10 * tens) << 8;
}

/* The digits' text, with spaces for the zeros before the first one that is not; of zero alone a last 0 stays. */
static inline uint64_t
spaced(uint64_t digits)
{
    uint64_t first = digits | UINT64_C(1) << 56, leading;

    first &= ~first + 1;                           /* the lowest bit that is set, in the first byte that is not zero */
    first |= first >> 1 | first >> 2 | first >> 3; /* now the lowest bit of that byte, too, and none below it */
    leading = (first & EACH_BYTE) - 1;             /* all bits of the bytes below */
    return digits ^ EACH_BYTE * '0' ^ (leading & EACH_BYTE * ('0' ^ ' '));
}

/* The last `size` of eight characters, the first of which is the lowest byte. */
static inline void
put(uint64_t text, size_t size, char *out)
{
    text >>= 8 * (8 - size);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (size_t i = 0; i < size; i++) {
        out[i] = (char)(text >> 8 * i);
    }
#else
    memcpy(out, &text, size);
#endif
}

/* A number right-aligned in up to four lanes. */
static void
write_short(uint64_t number, Py_ssize_t lanes, char *out)
{
    uint64_t higher = number / EIGHT_DIGITS, lower = eight_digits((uint32_t)(number % EIGHT_DIGITS));

    lower = higher ? lower ^ EACH_BYTE * '0' : spaced(lower);
    higher = higher ? spaced(eight_digits((uint32_t)higher)) : EACH_BYTE * ' ';
    switch (lanes) { /* sizes that the compiler knows */
    case 4:
        put(higher, 8, out);
        put(lower, 8, out + 8);
        break;
    case 3:
        put(higher, 4, out);
        put(lower, 8, out + 4);
        break;
    case 2:
        put(lower, 8, out);
        break;
    default:
        put(lower, 4, out);
    }
}

/* A number, right-aligned in its lanes; a negative one leaves spaces. Digits for which there is no lane are lost. */
static void
write_number(int64_t number, Py_ssize_t lanes, char *out)
{
    if (number >= 0 && number < SIXTEEN_DIGITS && lanes >= 1 && lanes <= 4) {
        write_short((uint64_t)number, lanes, out);
        return;
    }
    memset(out, ' ', (size_t)(lanes * LANE));
    if (number >= 0) {
        char *digit = out + lanes * LANE;

        do {
            *--digit = (char)('0' + number % 10);
            number /= 10;
        } while (number && digit > out);
    }
}

static PyObject *
write_numbers(PyObject *module, PyObject *args)
{
    PyObject *numbers_given, *out_given;
    Py_buffer numbers, out;
    bool done = false;

    (void)module;
    if (!PyArg_ParseTuple(args, "OO:write_numbers", &numbers_given, &out_given) ||
        !array_of(numbers_given, &numbers, 2, sizeof(int64_t), PyBUF_STRIDES, "numbers")) {
        return NULL;
    }
    if (array_of(out_given, &out, 3, LANE, PyBUF_STRIDES | PyBUF_WRITABLE, "out")) {
        if (out.shape[0] != numbers.shape[0] || out.shape[1] != numbers.shape[1]) {
            PyErr_SetString(PyExc_ValueError, "there is not a place for each number");
        } else if (out.shape[2] > 1 && out.strides[2] != LANE) {
            PyErr_SetString(PyExc_ValueError, "the lanes of a number do not lie side by side");
        } else {
            for (Py_ssize_t i = 0; i < numbers.shape[0]; i++) {
                const char *from = (const char *)numbers.buf + i * numbers.strides[0];
                char *to = (char *)out.buf + i * out.strides[0];

                for (Py_ssize_t j = 0; j < numbers.shape[1]; j++, from += numbers.strides[1], to += out.strides[1]) {
                    int64_t number;

                    memcpy(&number, from, sizeof number);
                    write_number(number, out.shape[2], to);
                }
            }
            done = true;
        }
        PyBuffer_Release(&out);
    }
    PyBuffer_Release(&numbers);
    if (!done) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static bool
scatter_lanes(const Py_buffer *text, const Py_buffer *positions, const Py_buffer *lanes, const Py_buffer *sources)
{
    const int32_t *to = positions->buf, *from = sources->buf;
    uint32_t *written = text->buf;
    const uint32_t *given = lanes->buf;
    uint64_t room = (uint64_t)text->shape[0], count = (uint64_t)lanes->shape[0];

    if (positions->shape[0] != sources->shape[0]) {
        PyErr_SetString(PyExc_ValueError, "there is not a source for each position");
        return false;
    }
    for (Py_ssize_t i = 0; i < positions->shape[0]; i++) {
        /* A negative number is a large one here. */
        if ((uint64_t)(int64_t)to[i] >= room || (uint64_t)(int64_t)from[i] >= count) {
            PyErr_Format(PyExc_IndexError, "lane %d of %zd to %d of %zd", (int)from[i], lanes->shape[0], (int)to[i],
                         text->shape[0]);
            return false;
        }
        written[to[i]] = given[from[i]];
    }
    return true;
}

static PyObject *
scatter(PyObject *module, PyObject *args)
{
    static const char *const names[] = {"text", "positions", "lanes", "sources"};
    PyObject *given[4];
    Py_buffer views[4];
    int held = 0;
    bool done = false;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOOO:scatter", &given[0], &given[1], &given[2], &given[3])) {
        return NULL;
    }
    while (held < 4 && array_of(given[held], &views[held], 1, LANE, held ? PyBUF_ND : PyBUF_ND | PyBUF_WRITABLE,
                                names[held])) {
        held++;
    }
    if (held == 4) {
        done = scatter_lanes(&views[0], &views[1], &views[2], &views[3]);
    }
    while (held > 0) {
        PyBuffer_Release(&views[--held]);
    }
    if (!done) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"write_numbers", write_numbers, METH_VARARGS, NULL},
    {"scatter", scatter, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_lanes", NULL, 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__lanes(void)
{
    return PyModuleDef_Init(&definition);
}
