/* Values into the rows of a batch's columns, and rows by the hash of their names. Pure: no object is made or kept.
 *
 * Both are what NumPy does in collector/core/place.py, which says what is meant and is what counts where the two should
 * differ. Nothing outside the arrays given is read or written: what does not fit is an error before the first write,
 * and a row that no column has ends the call with one.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TOGETHER 64 /* keys on their way through the memory at the same time */

#if defined(__GNUC__) || defined(__clang__)
#define SOON(address) __builtin_prefetch(address)
#else
#define SOON(address) ((void)0)
#endif

/* An array of `dimensions` dimensions, C-contiguous, of items of `size` bytes, to be released by the caller. */
static bool
array_of(PyObject *object, Py_buffer *view, int dimensions, Py_ssize_t size, int flags, const char *name)
{
    if (PyObject_GetBuffer(object, view, PyBUF_ND | flags) < 0) {
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

/* The rows of one column get its values: those that are not negative, or, of times (no `present`), not 0. */
static bool
scatter_column(const int64_t *values, const int32_t *rows, Py_ssize_t count, int64_t *cells, uint8_t *present,
               Py_ssize_t capacity)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        int32_t row = rows[i];

        if (row < 0) {
            continue;
        }
        if (row >= capacity) {
            PyErr_Format(PyExc_IndexError, "row %d of %zd", (int)row, capacity);
            return false;
        }
        if (!present) {
            if (values[i] != 0) {
                cells[row] = values[i];
            }
        } else if (values[i] >= 0) {
            cells[row] = values[i];
            present[row] = 1;
        }
    }
    return true;
}

static bool
scatter_all(PyObject *metrics, PyObject *columns, const Py_buffer *rows, const Py_buffer *cells,
            const Py_buffer *present)
{
    Py_ssize_t width = PySequence_Size(metrics), capacity = cells->shape[1];

    if (width < 0) {
        return false;
    }
    if (PySequence_Size(columns) != width) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "as many columns as metrics are wanted");
        }
        return false;
    }
    for (Py_ssize_t j = 0; j < width; j++) {
        PyObject *number = PySequence_GetItem(metrics, j), *column;
        Py_ssize_t m = number ? PyNumber_AsSsize_t(number, PyExc_IndexError) : -1;
        Py_buffer values;
        bool done;

        Py_XDECREF(number);
        if (m < 0 || m >= cells->shape[0]) {
            if (!PyErr_Occurred()) {
                PyErr_Format(PyExc_IndexError, "metric %zd of %zd", m, cells->shape[0]);
            }
            return false;
        }
        column = PySequence_GetItem(columns, j);
        if (!column) {
            return false;
        }
        done = array_of(column, &values, 1, sizeof(int64_t), 0, "a column");
        Py_DECREF(column);
        if (!done) {
            return false;
        }
        if (values.shape[0] != rows->shape[0]) {
            PyErr_SetString(PyExc_ValueError, "a column is not as long as the rows");
            done = false;
        } else {
            done = scatter_column(values.buf, rows->buf, rows->shape[0], (int64_t *)cells->buf + m * capacity,
                                  present ? (uint8_t *)present->buf + m * capacity : NULL, capacity);
        }
        PyBuffer_Release(&values);
        if (!done) {
            return false;
        }
    }
    return true;
}

static PyObject *
scatter(PyObject *module, PyObject *args)
{
    PyObject *rows_given, *metrics, *columns, *cells_given, *present_given;
    Py_buffer rows, cells, present;
    bool done = false, has_present;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOO:scatter", &rows_given, &metrics, &columns, &cells_given, &present_given) ||
        !array_of(rows_given, &rows, 1, sizeof(int32_t), 0, "rows")) {
        return NULL;
    }
    if (array_of(cells_given, &cells, 2, sizeof(int64_t), PyBUF_WRITABLE, "cells")) {
        has_present = present_given != Py_None;
        if (!has_present) {
            done = scatter_all(metrics, columns, &rows, &cells, NULL);
        } else if (array_of(present_given, &present, 2, 1, PyBUF_WRITABLE, "present")) {
            if (present.shape[0] != cells.shape[0] || present.shape[1] != cells.shape[1]) {
                PyErr_SetString(PyExc_ValueError, "cells and present differ in their shapes");
            } else {
                done = scatter_all(metrics, columns, &rows, &cells, &present);
            }
            PyBuffer_Release(&present);
        }
        PyBuffer_Release(&cells);
    }
    PyBuffer_Release(&rows);
    if (!done) {
        return NULL;
    }
    Py_RETURN_NONE;
}

typedef struct {
    const int32_t *slots;
    const uint64_t *first, *second;
    uint64_t mask;
    int64_t owners;
} Table;

/* The number of a key; -1 for one that has none. */
static int32_t
look(const Table *table, uint64_t first, uint64_t second)
{
    uint64_t place = first & table->mask;

    for (uint64_t looks = 0; looks <= table->mask; looks++, place = (place + 1) & table->mask) {
        int32_t number = ~table->slots[place]; /* an empty slot, 0, gives -1 */

        if (number < 0) {
            return -1;
        }
        if (number < table->owners && table->first[number] == first && table->second[number] == second) {
            return number;
        }
    }
    return -1;
}

static void
look_for_all(const Table *table, const uint64_t *keys, Py_ssize_t count, int32_t *found)
{
    for (Py_ssize_t begin = 0; begin < count; begin += TOGETHER) {
        Py_ssize_t end = count - begin < TOGETHER ? count : begin + TOGETHER;

        for (Py_ssize_t i = begin; i < end; i++) {
            SOON(table->slots + (keys[2 * i] & table->mask));
        }
        for (Py_ssize_t i = begin; i < end; i++) {
            int32_t number = ~table->slots[keys[2 * i] & table->mask];

            if (number >= 0 && number < table->owners) {
                SOON(table->first + number);
                SOON(table->second + number);
            }
        }
        for (Py_ssize_t i = begin; i < end; i++) {
            found[i] = look(table, keys[2 * i], keys[2 * i + 1]);
        }
    }
}

static PyObject *
find(PyObject *module, PyObject *args)
{
    PyObject *keys_given, *slots_given, *owner_given, *found_given;
    Py_buffer keys, slots, owner, found;
    bool done = false;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOOO:find", &keys_given, &slots_given, &owner_given, &found_given) ||
        !array_of(keys_given, &keys, 2, sizeof(uint64_t), 0, "keys")) {
        return NULL;
    }
    if (array_of(slots_given, &slots, 1, sizeof(int32_t), 0, "slots")) {
        if (array_of(owner_given, &owner, 2, sizeof(uint64_t), 0, "owner")) {
            if (array_of(found_given, &found, 1, sizeof(int32_t), PyBUF_WRITABLE, "found")) {
                Py_ssize_t size = slots.shape[0];

                if (keys.shape[1] != 2 || owner.shape[0] != 2 || found.shape[0] != keys.shape[0] || size == 0 ||
                    (size & (size - 1)) != 0) {
                    PyErr_SetString(PyExc_ValueError, "keys, slots, owner or found have a shape that does not fit");
                } else {
                    const uint64_t *first = owner.buf;
                    Table table = {slots.buf, first, first + owner.shape[1], (uint64_t)size - 1, owner.shape[1]};

                    look_for_all(&table, keys.buf, keys.shape[0], found.buf);
                    done = true;
                }
                PyBuffer_Release(&found);
            }
            PyBuffer_Release(&owner);
        }
        PyBuffer_Release(&slots);
    }
    PyBuffer_Release(&keys);
    if (!done) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"scatter", scatter, METH_VARARGS,
     "scatter(rows, metrics, columns, cells, present)\n\nGives the cells of `rows` in each of `metrics` the values of "
     "the column beside it, and notes that they are present; present None: where they are not 0."},
    {"find", find, METH_VARARGS, "find(keys, slots, owner, found)\n\nPuts the number of each key into `found`."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_place",
    .m_doc = "Values into rows, and rows by the hash of their names. See collector/core/place.py.",
    .m_size = 0,
    .m_methods = functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__place(void)
{
    return PyModuleDef_Init(&module_definition);
}
