/* The pods of a metrics list, straight from columns and the lister's objects to the bytes of the answer.
 *
 * collector/api/metrics_reader.py and metrics_writer.py say the same in Python; they are what is meant and what counts
 * where the two should differ. What is out of the ordinary (a name that needs escapes, a window below a second, a time
 * before 1970) is asked of them. Nothing is kept from call to call.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define SECOND INT64_C(1000000000)
#define SHAPES 4
#define NUMBER_BYTES 24 /* of any int64 with a suffix */
#define MOMENT_BYTES 20
#define WINDOW_BYTES 40

/* Bytes that grow. */

typedef struct {
    char *bytes;
    size_t used, room;
} Out;

static bool
reserve(Out *out, size_t more)
{
    size_t room = out->room;
    char *bytes;

    if (more <= room - out->used) {
        return true;
    }
    room = 2 * room + more;
    bytes = PyMem_Realloc(out->bytes, room);
    if (!bytes) {
        PyErr_NoMemory();
        return false;
    }
    out->bytes = bytes;
    out->room = room;
    return true;
}

static bool
put(Out *out, const char *bytes, size_t size)
{
    if (!reserve(out, size)) {
        return false;
    }
    if (size) {
        memcpy(out->bytes + out->used, bytes, size);
        out->used += size;
    }
    return true;
}

/* Pieces of a form: what stands between its holes. */

typedef struct {
    const char *bytes;
    size_t size;
} Piece;

typedef struct {
    Piece *pieces;
    Py_ssize_t count;
    const char *holes; /* one letter each; of a container's form none */
} Form;

static bool
piece_of(PyObject *bytes, Piece *piece)
{
    char *start;
    Py_ssize_t size;

    if (PyBytes_AsStringAndSize(bytes, &start, &size) < 0) {
        return false;
    }
    piece->bytes = start;
    piece->size = (size_t)size;
    return true;
}

static bool
put_piece(Out *out, const Piece *piece)
{
    return put(out, piece->bytes, piece->size);
}

/* The pieces lie where the caller's tuple of bytes keeps them. */
static bool
form_of(PyObject *given, Form *form)
{
    if (!PyTuple_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "a form is a tuple of bytes");
        return false;
    }
    form->count = PyTuple_Size(given);
    form->pieces = PyMem_Calloc((size_t)form->count + 1, sizeof(Piece));
    if (!form->pieces) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; i < form->count; i++) {
        if (!piece_of(PyTuple_GetItem(given, i), &form->pieces[i])) {
            return false;
        }
    }
    return true;
}

/* Numbers as text. */

static char *
digits(char *at, uint64_t number)
{
    char reversed[20];
    int count = 0;

    do {
        reversed[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    while (count) {
        *at++ = reversed[--count];
    }
    return at;
}

static char *
whole(char *at, int64_t number)
{
    if (number < 0) {
        *at++ = '-';
        return digits(at, 0 - (uint64_t)number);
    }
    return digits(at, (uint64_t)number);
}

/* See `quantity.decimal_text`. */
static char *
decimal(char *at, int64_t number, int power)
{
    static const char suffixes[] = "num\0kMGTPE";
    char suffix;

    if (number == 0) {
        *at++ = '0';
        return at;
    }
    while (number % 1000 == 0 && power < 18) {
        number /= 1000;
        power += 3;
    }
    at = whole(at, number);
    suffix = suffixes[(power + 9) / 3];
    if (suffix) {
        *at++ = suffix;
    }
    return at;
}

/* See `quantity.binary_text`. */
static char *
binary(char *at, int64_t number)
{
    static const char suffixes[] = "\0KMGTPE";
    int times = 0;

    if (-1024 < number && number < 1024) {
        return decimal(at, number, 0);
    }
    while (number % 1024 == 0 && times < 6) {
        number /= 1024;
        times++;
    }
    at = whole(at, number);
    if (times) {
        *at++ = suffixes[times];
        *at++ = 'i';
    }
    return at;
}

static char *
two(char *at, unsigned number)
{
    *at++ = (char)('0' + number / 10);
    *at++ = (char)('0' + number % 10);
    return at;
}

/* `2006-01-02T15:04:05Z`, of seconds since 1970 of which the nanoseconds fit. Days are counted from the 1st of March of the year 0. */
static char *
moment(char *at, int64_t seconds)
{
    unsigned of_day = (unsigned)(seconds % 86400), days = (unsigned)(seconds / 86400) + 719468;
    unsigned era = days / 146097, of_era = days % 146097;
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned from_march = (5 * of_year + 2) / 153, day = of_year - (153 * from_march + 2) / 5 + 1;
    unsigned month = from_march < 10 ? from_march + 3 : from_march - 9;
    unsigned year = 400 * era + year_of_era + (month <= 2);

    at = two(two(at, year / 100), year % 100);
    *at++ = '-';
    at = two(at, month);
    *at++ = '-';
    at = two(at, day);
    *at++ = 'T';
    at = two(at, of_day / 3600);
    *at++ = ':';
    at = two(at, of_day / 60 % 60);
    *at++ = ':';
    at = two(at, of_day % 60);
    *at++ = 'Z';
    return at;
}

/* See `gotext.duration`; of a second and more. */
static char *
window(char *at, int64_t ns)
{
    int64_t minutes = ns / (60 * SECOND), rest = ns % (60 * SECOND), fraction = rest % SECOND;

    if (minutes >= 60) {
        at = whole(at, minutes / 60);
        *at++ = 'h';
    }
    if (minutes) {
        at = whole(at, minutes % 60);
        *at++ = 'm';
    }
    at = whole(at, rest / SECOND);
    if (fraction) {
        *at++ = '.';
        for (int64_t unit = SECOND / 10; fraction; unit /= 10) {
            *at++ = (char)('0' + fraction / unit);
            fraction %= unit;
        }
    }
    *at++ = 's';
    return at;
}

/* Texts of Python's. */

static bool
put_str(Out *out, PyObject *text)
{
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &size);

    return bytes && put(out, bytes, (size_t)size);
}

/* What `ask` answers about `given`; `given` is consumed. */
static bool
put_asked(Out *out, PyObject *ask, PyObject *given)
{
    PyObject *text;
    bool done;

    if (!given) {
        return false;
    }
    text = PyObject_CallFunctionObjArgs(ask, given, NULL);
    Py_DECREF(given);
    if (!text) {
        return false;
    }
    done = put_str(out, text);
    Py_DECREF(text);
    return done;
}

static bool
is_plain(const char *bytes, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)bytes[i];

        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&') {
            return false;
        }
    }
    return true;
}

/* `text` as it stands between quotes. */
static bool
put_escaped(Out *out, PyObject *text, PyObject *escaped)
{
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &size);

    if (bytes && is_plain(bytes, size)) {
        return put(out, bytes, (size_t)size);
    }
    if (!bytes) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            return false;
        }
        PyErr_Clear();
    }
    Py_INCREF(text);
    return put_asked(out, escaped, text);
}

static bool
put_attribute(Out *out, PyObject *object, PyObject *name, PyObject *escaped)
{
    PyObject *text = PyObject_GetAttr(object, name);
    bool done;

    if (!text) {
        return false;
    }
    done = put_escaped(out, text, escaped);
    Py_DECREF(text);
    return done;
}

/* Columns: int64, one number for each row or object. */

typedef struct {
    Py_buffer view;
    const int64_t *values; /* NULL: there is no such column */
} Column;

enum { ENDS, TOLD, CPU, MEMORY, TIMES, WINDOWS, EPHEMERAL, SWAP, COLUMNS };

static const char *const column_names[COLUMNS] = {"ends",  "told",    "cpu",       "memory",
                                                  "times", "windows", "ephemeral", "swap"};

static bool
column_of(PyObject *given, Column *column, Py_ssize_t length, const char *name)
{
    if (PyObject_GetBuffer(given, &column->view, PyBUF_ND) < 0) {
        return false;
    }
    column->values = column->view.buf;
    if (column->view.ndim != 1 || column->view.itemsize != sizeof(int64_t) || column->view.shape[0] != length) {
        PyErr_Format(PyExc_ValueError, "%s: wanted %zd numbers of 8 bytes", name, length);
        return false;
    }
    return true;
}

typedef struct {
    Out out;
    Column columns[COLUMNS];
    Form forms[2];        /* of a pod without and with labels */
    Form inner[SHAPES];   /* of a container: 1 for ephemeral storage and 2 for swap, added up */
    Piece frame[3];       /* before, between and behind the containers of a pod */
    Piece between;        /* between two pods; of protobuf, what all of them have in their metadata */
    int power;
    PyObject *objects, *names;                    /* borrowed, as all that follows */
    PyObject *label_text, *escaped, *moment_text, *window_text; /* asked; label_text None: labels are not shown */
    PyObject *labels, *told_labels;               /* owned: the last pod's, and their text; NULL when it has none */
    PyObject *name, *space, *label_attribute;     /* owned: what the attributes are called */
} List;

static bool
put_container(List *list, Py_ssize_t row)
{
    const int64_t *ephemeral = list->columns[EPHEMERAL].values, *swap = list->columns[SWAP].values;
    bool stored = ephemeral && ephemeral[row] >= 0, swapped = swap && swap[row] >= 0;
    const Piece *piece = list->inner[stored + 2 * swapped].pieces;
    PyObject *name = PySequence_GetItem(list->names, row);
    Out *out = &list->out;
    size_t most = 4 * NUMBER_BYTES;
    bool done;
    char *at;

    if (!name) {
        return false;
    }
    done = put_piece(out, piece++) && put_escaped(out, name, list->escaped);
    Py_DECREF(name);
    for (int i = 0; i < 3 + stored + swapped; i++) {
        most += piece[i].size;
    }
    if (!done || !reserve(out, most)) {
        return false;
    }
    at = out->bytes + out->used;
#define PIECE (memcpy(at, piece->bytes, piece->size), at += piece->size, piece++)
    PIECE;
    at = decimal(at, list->columns[CPU].values[row], list->power);
    PIECE;
    if (stored) {
        at = binary(at, ephemeral[row]);
        PIECE;
    }
    at = binary(at, list->columns[MEMORY].values[row]);
    PIECE;
    if (swapped) {
        at = binary(at, swap[row]);
        PIECE;
    }
#undef PIECE
    out->used = (size_t)(at - out->bytes);
    return true;
}

static bool
put_containers(List *list, Py_ssize_t start, Py_ssize_t end)
{
    if (!put_piece(&list->out, &list->frame[0])) {
        return false;
    }
    for (Py_ssize_t row = start; row < end; row++) {
        if ((row > start && !put_piece(&list->out, &list->frame[1])) || !put_container(list, row)) {
            return false;
        }
    }
    return put_piece(&list->out, &list->frame[2]);
}

static bool
put_moment(List *list, int64_t ns)
{
    Out *out = &list->out;

    if (ns < 0) {
        return put_asked(out, list->moment_text, PyLong_FromLongLong(ns));
    }
    if (!reserve(out, MOMENT_BYTES)) {
        return false;
    }
    out->used = (size_t)(moment(out->bytes + out->used, ns / SECOND) - out->bytes);
    return true;
}

static bool
put_window(List *list, int64_t ns)
{
    Out *out = &list->out;

    if (ns < SECOND) {
        return put_asked(out, list->window_text, PyLong_FromLongLong(ns));
    }
    if (!reserve(out, WINDOW_BYTES)) {
        return false;
    }
    out->used = (size_t)(window(out->bytes + out->used, ns) - out->bytes);
    return true;
}

/* Note a pod's labels and their text. Replicas share theirs and stand together, so most are those of the pod before. */
static bool
note_labels(List *list, PyObject *object)
{
    PyObject *labels;
    int some;

    if (list->label_text == Py_None) {
        return true;
    }
    labels = PyObject_GetAttr(object, list->label_attribute);
    if (!labels || labels == list->labels) {
        Py_XDECREF(labels);
        return labels != NULL;
    }
    Py_XDECREF(list->labels);
    list->labels = labels;
    Py_CLEAR(list->told_labels);
    some = PyObject_IsTrue(labels);
    if (some > 0) {
        list->told_labels = PyObject_CallFunctionObjArgs(list->label_text, labels, NULL);
    }
    return some == 0 || list->told_labels;
}

static bool
put_pod(List *list, PyObject *object, Py_ssize_t which, Py_ssize_t start, Py_ssize_t end)
{
    Out *out = &list->out;
    const Form *form;
    int64_t told = list->columns[TOLD].values[which];
    bool done;

    if (!note_labels(list, object)) {
        return false;
    }
    form = &list->forms[list->told_labels != NULL];
    done = put_piece(out, &form->pieces[0]);
    for (Py_ssize_t i = 1; done && i < form->count; i++) {
        switch (form->holes[i - 1]) {
        case 'n':
            done = put_attribute(out, object, list->name, list->escaped);
            break;
        case 's':
            done = put_attribute(out, object, list->space, list->escaped);
            break;
        case 'l':
            done = list->told_labels && put_str(out, list->told_labels);
            break;
        case 't':
            done = put_moment(list, list->columns[TIMES].values[told]);
            break;
        case 'w':
            done = put_window(list, list->columns[WINDOWS].values[told]);
            break;
        default:
            done = put_containers(list, start, end);
        }
        done = done && put_piece(out, &form->pieces[i]);
    }
    return done;
}

/* Whether the rows of object `i`, the first of which is `start`, are rows of the columns. */
static bool
rows_are_there(const List *list, Py_ssize_t i, Py_ssize_t start)
{
    int64_t end = list->columns[ENDS].values[i], told = list->columns[TOLD].values[i];
    Py_ssize_t rows = list->columns[CPU].view.shape[0];

    if (end < start || end > rows || told < 0 || told >= rows) {
        PyErr_Format(PyExc_IndexError, "object %zd has rows that are not there", i);
        return false;
    }
    return true;
}

static bool
put_pods(List *list)
{
    const int64_t *ends = list->columns[ENDS].values;
    Py_ssize_t count = list->columns[ENDS].view.shape[0], start = 0;

    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *object = rows_are_there(list, i, start) ? PySequence_GetItem(list->objects, i) : NULL;
        bool done;

        if (!object) {
            return false;
        }
        done = (i == 0 || put_piece(&list->out, &list->between)) && put_pod(list, object, i, start, ends[i]);
        Py_DECREF(object);
        if (!done) {
            return false;
        }
        start = ends[i];
    }
    return true;
}

/* The two forms with their holes, the four of containers, the frame. */
static bool
read_forms(List *list, PyObject *forms, PyObject *holes, PyObject *inner, PyObject *frame)
{
    for (int i = 0; i < 2; i++) {
        Py_ssize_t size;
        char *letters;

        if (!form_of(PyTuple_GetItem(forms, i), &list->forms[i]) ||
            PyBytes_AsStringAndSize(PyTuple_GetItem(holes, i), &letters, &size) < 0) {
            return false;
        }
        list->forms[i].holes = letters;
        if (size + 1 != list->forms[i].count || (i == 0 && memchr(letters, 'l', (size_t)size))) {
            PyErr_SetString(PyExc_ValueError, "a form of n holes has n + 1 pieces, and labels only where there are some");
            return false;
        }
    }
    for (int i = 0; i < SHAPES; i++) {
        if (!form_of(PyTuple_GetItem(inner, i), &list->inner[i])) {
            return false;
        }
        if (list->inner[i].count != 4 + (i & 1) + (i >> 1)) {
            PyErr_SetString(PyExc_ValueError, "the form of a container has a hole for its name and each amount");
            return false;
        }
    }
    for (int i = 0; i < 3; i++) {
        if (!piece_of(PyTuple_GetItem(frame, i), &list->frame[i])) {
            return false;
        }
    }
    return true;
}

static bool
read_attributes(List *list)
{
    list->name = PyUnicode_InternFromString("name");
    list->space = PyUnicode_InternFromString("namespace");
    list->label_attribute = PyUnicode_InternFromString("labels");
    return list->name && list->space && list->label_attribute;
}

static bool
read_columns(List *list, PyObject *columns)
{
    Py_ssize_t objects = PySequence_Size(list->objects), rows = PySequence_Size(list->names);

    if (objects < 0 || rows < 0) {
        return false;
    }
    if (PyTuple_Size(columns) != COLUMNS) {
        PyErr_Format(PyExc_ValueError, "wanted %d columns", (int)COLUMNS);
        return false;
    }
    for (int i = 0; i < COLUMNS; i++) {
        PyObject *given = PyTuple_GetItem(columns, i);

        if (given == Py_None && i >= EPHEMERAL) {
            continue;
        }
        if (!column_of(given, &list->columns[i], i <= TOLD ? objects : rows, column_names[i])) {
            return false;
        }
    }
    return true;
}

static void
let_go(List *list)
{
    for (int i = 0; i < COLUMNS; i++) {
        if (list->columns[i].view.obj) {
            PyBuffer_Release(&list->columns[i].view);
        }
    }
    for (int i = 0; i < 2; i++) {
        PyMem_Free(list->forms[i].pieces);
    }
    for (int i = 0; i < SHAPES; i++) {
        PyMem_Free(list->inner[i].pieces);
    }
    Py_XDECREF(list->labels);
    Py_XDECREF(list->told_labels);
    Py_XDECREF(list->name);
    Py_XDECREF(list->space);
    Py_XDECREF(list->label_attribute);
    PyMem_Free(list->out.bytes);
}

static PyObject *
write_pods(PyObject *module, PyObject *args)
{
    List list = {0};
    PyObject *columns, *forms, *holes, *inner, *frame, *between, *written = NULL;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOO!iO!O!O!O!SOOOO:write_pods", &list.objects, &list.names, &PyTuple_Type, &columns,
                          &list.power, &PyTuple_Type, &forms, &PyTuple_Type, &holes, &PyTuple_Type, &inner,
                          &PyTuple_Type, &frame, &between, &list.label_text, &list.escaped, &list.moment_text,
                          &list.window_text)) {
        return NULL;
    }
    if (PyTuple_Size(forms) != 2 || PyTuple_Size(holes) != 2 || PyTuple_Size(inner) != SHAPES ||
        PyTuple_Size(frame) != 3 || list.power < -9 || list.power > 0 || list.power % 3 != 0) {
        PyErr_SetString(PyExc_ValueError, "wanted 2 forms, their holes, 4 forms of containers, a frame and a power");
        return NULL;
    }
    if (read_attributes(&list) && piece_of(between, &list.between) &&
        read_forms(&list, forms, holes, inner, frame) && read_columns(&list, columns) && put_pods(&list)) {
        written = PyBytes_FromStringAndSize(list.out.bytes, (Py_ssize_t)list.out.used);
    }
    let_go(&list);
    return written;
}

/* The same pods as protobuf: see metrics_protobuf.py, which knows the messages. All tags take one byte. */

enum {
    NAME = 0x0a,
    NAMESPACE = 0x1a,
    FIRST = 0x0a,
    SECOND_FIELD = 0x12,
    THIRD = 0x1a,
    FOURTH = 0x22,
    ELEVENTH = 0x5a,
    NUMBER = 0x08
};

static char *
varint(char *at, uint64_t number)
{
    while (number > 127) {
        *at++ = (char)(number | 128);
        number >>= 7;
    }
    *at++ = (char)number;
    return at;
}

/* A field of bytes: its tag, their number, the bytes. */
static bool
put_field(Out *out, char tag, const char *bytes, size_t size)
{
    char *at;

    if (!reserve(out, size + 11)) {
        return false;
    }
    at = out->bytes + out->used;
    *at++ = tag;
    at = varint(at, size);
    if (size) {
        memcpy(at, bytes, size);
    }
    out->used = (size_t)(at - out->bytes) + size;
    return true;
}

/* A string, of which `unicode` is asked for one without surrogates where it has some. */
static bool
put_text_field(Out *out, char tag, PyObject *text, PyObject *unicode)
{
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &size);
    PyObject *told;
    bool done;

    if (bytes) {
        return put_field(out, tag, bytes, (size_t)size);
    }
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        return false;
    }
    PyErr_Clear();
    told = PyObject_CallFunctionObjArgs(unicode, text, NULL);
    bytes = told ? PyUnicode_AsUTF8AndSize(told, &size) : NULL;
    done = bytes && put_field(out, tag, bytes, (size_t)size);
    Py_XDECREF(told);
    return done;
}

static bool
put_attribute_field(Out *out, char tag, PyObject *object, PyObject *name, PyObject *unicode)
{
    PyObject *text = PyObject_GetAttr(object, name);
    bool done = text && put_text_field(out, tag, text, unicode);

    Py_XDECREF(text);
    return done;
}

/* One resource of a usage; `end` is where its amount ends that was written at `amount`. */
static bool
put_usage(Out *out, const char *resource, const char *amount, const char *end)
{
    char entry[64], *at = entry;
    size_t named = strlen(resource), size = (size_t)(end - amount);

    *at++ = FIRST;
    at = varint(at, named);
    memcpy(at, resource, named);
    at += named;
    *at++ = SECOND_FIELD;
    at = varint(at, size + 2); /* a quantity is a message of its text */
    *at++ = FIRST;
    at = varint(at, size);
    memcpy(at, amount, size);
    return put_field(out, SECOND_FIELD, entry, (size_t)(at - entry) + size);
}

static bool
put_container_field(List *list, Out *item, Out *part, Py_ssize_t row)
{
    const int64_t *ephemeral = list->columns[EPHEMERAL].values, *swap = list->columns[SWAP].values;
    PyObject *name = PySequence_GetItem(list->names, row);
    char amount[NUMBER_BYTES];
    bool done;

    part->used = 0;
    done = name && put_text_field(part, NAME, name, list->escaped) &&
           put_usage(part, "cpu", amount, decimal(amount, list->columns[CPU].values[row], list->power)) &&
           (!ephemeral || ephemeral[row] < 0 ||
            put_usage(part, "ephemeral-storage", amount, binary(amount, ephemeral[row]))) &&
           put_usage(part, "memory", amount, binary(amount, list->columns[MEMORY].values[row])) &&
           (!swap || swap[row] < 0 || put_usage(part, "swap", amount, binary(amount, swap[row]))) &&
           put_field(item, FOURTH, part->bytes, part->used);
    Py_XDECREF(name);
    return done;
}

/* What is put together before its length is known. */

typedef struct {
    Out item, part, labels;
} Scratch;

/* Encode `labels`, in the order of their names, as fields of a metadata. */
static bool
put_label_fields(List *list, Out *told, PyObject *labels)
{
    PyObject *pairs = PyMapping_Items(labels);
    bool done = pairs && PyList_Sort(pairs) == 0;
    Out entry = {0};

    for (Py_ssize_t i = 0, count = done ? PyList_Size(pairs) : 0; done && i < count; i++) {
        PyObject *pair = PyList_GetItem(pairs, i), *name = PyTuple_GetItem(pair, 0), *value = PyTuple_GetItem(pair, 1);

        entry.used = 0;
        done = name && value && put_text_field(&entry, FIRST, name, list->escaped) &&
               put_text_field(&entry, SECOND_FIELD, value, list->escaped) &&
               put_field(told, ELEVENTH, entry.bytes, entry.used);
    }
    PyMem_Free(entry.bytes);
    Py_XDECREF(pairs);
    return done;
}

/* As `note_labels`: what is `told` are the labels of the pod before, which most share. */
static bool
note_label_fields(List *list, Out *told, PyObject *object)
{
    PyObject *labels = PyObject_GetAttr(object, list->label_attribute);

    if (!labels || labels == list->labels) {
        Py_XDECREF(labels);
        return labels != NULL;
    }
    Py_XDECREF(list->labels);
    list->labels = labels;
    told->used = 0;
    return put_label_fields(list, told, labels);
}

static bool
put_pod_fields(List *list, PyObject *object, Scratch *scratch, Py_ssize_t which, Py_ssize_t start, Py_ssize_t end)
{
    Out *item = &scratch->item, *part = &scratch->part, *labels = &scratch->labels;
    int64_t told = list->columns[TOLD].values[which], time = list->columns[TIMES].values[told];
    int64_t seconds = time / SECOND - (time % SECOND < 0);
    char number[16], *at;

    part->used = item->used = 0;
    if (!note_label_fields(list, labels, object) ||
        !put_attribute_field(part, NAME, object, list->name, list->escaped) ||
        !put_attribute_field(part, NAMESPACE, object, list->space, list->escaped) ||
        !put_piece(part, &list->between) || !put(part, labels->bytes, labels->used) ||
        !put_field(item, FIRST, part->bytes, part->used)) {
        return false;
    }
    number[0] = NUMBER;
    at = varint(number + 1, (uint64_t)seconds);
    *at++ = 0x10; /* no nanoseconds */
    *at++ = 0;
    if (!put_field(item, SECOND_FIELD, number, (size_t)(at - number))) {
        return false;
    }
    at = varint(number + 1, (uint64_t)list->columns[WINDOWS].values[told]);
    if (!put_field(item, THIRD, number, (size_t)(at - number))) {
        return false;
    }
    for (Py_ssize_t row = start; row < end; row++) {
        if (!put_container_field(list, item, part, row)) {
            return false;
        }
    }
    return put_field(&list->out, SECOND_FIELD, item->bytes, item->used);
}

static PyObject *
encode_pods(PyObject *module, PyObject *args)
{
    List list = {0};
    Scratch scratch = {0};
    PyObject *columns, *stamps, *encoded = NULL;
    bool done;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOO!iSO:encode_pods", &list.objects, &list.names, &PyTuple_Type, &columns,
                          &list.power, &stamps, &list.escaped)) {
        return NULL;
    }
    if (list.power < -9 || list.power > 0 || list.power % 3 != 0) {
        PyErr_SetString(PyExc_ValueError, "the power of the CPU is -9, -6, -3 or 0");
        return NULL;
    }
    done = read_attributes(&list) && piece_of(stamps, &list.between) && read_columns(&list, columns);
    for (Py_ssize_t i = 0, start = 0, count = done ? list.columns[ENDS].view.shape[0] : 0; done && i < count; i++) {
        PyObject *object = rows_are_there(&list, i, start) ? PySequence_GetItem(list.objects, i) : NULL;
        Py_ssize_t end = (Py_ssize_t)list.columns[ENDS].values[i];

        done = object && put_pod_fields(&list, object, &scratch, i, start, end);
        Py_XDECREF(object);
        start = end;
    }
    if (done) {
        encoded = PyBytes_FromStringAndSize(list.out.bytes, (Py_ssize_t)list.out.used);
    }
    PyMem_Free(scratch.item.bytes);
    PyMem_Free(scratch.part.bytes);
    PyMem_Free(scratch.labels.bytes);
    let_go(&list);
    return encoded;
}

/* The rows of containers. */

/* Append the containers of one tuple: their names, and the row of each among `below`, -1 where it has none. */
static bool
add_containers(PyObject *specs, PyObject *name_attribute, PyObject *below, PyObject *names, Out *rows)
{
    Py_ssize_t count = PyTuple_Size(specs);

    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = PyObject_GetAttr(PyTuple_GetItem(specs, i), name_attribute), *found;
        int64_t row = -1;
        bool done;

        if (!name) {
            return false;
        }
        found = below ? PyDict_GetItemWithError(below, name) : NULL;
        if (found) {
            row = PyLong_AsLongLong(found);
        }
        done = !PyErr_Occurred() && PyList_Append(names, name) == 0 && put(rows, (const char *)&row, sizeof row);
        Py_DECREF(name);
        if (!done) {
            return false;
        }
    }
    return count >= 0;
}

/* What is below row `row`: a dictionary, borrowed; NULL, without an error, when there is nothing. */
static PyObject *
below_row(PyObject *children, PyObject *row)
{
    Py_ssize_t at = row ? PyLong_AsSsize_t(row) : -1;
    PyObject *found = at >= 0 ? PyList_GetItem(children, at) : NULL;

    if (found && found != Py_None && !PyDict_Check(found)) {
        PyErr_SetString(PyExc_TypeError, "children are dictionaries");
    }
    return found && PyDict_Check(found) ? found : NULL;
}

static PyObject *
find_rows(PyObject *module, PyObject *args)
{
    static const char *const attributes[4] = {"namespace", "name", "containers", "sidecars"};
    PyObject *pods, *namespaces, *children, *names = PyList_New(0), *called[4] = {NULL}, *answer = NULL;
    Out rows = {0}, ends = {0};
    int with_sidecars;
    bool done;

    (void)module;
    done = names && PyArg_ParseTuple(args, "OO!O!p:find_rows", &pods, &PyDict_Type, &namespaces, &PyList_Type,
                                     &children, &with_sidecars);
    for (int i = 0; done && i < 4; i++) {
        called[i] = PyUnicode_InternFromString(attributes[i]);
        done = called[i] != NULL;
    }
    for (Py_ssize_t i = 0, count = done ? PySequence_Size(pods) : 0; done && i < count; i++) {
        PyObject *pod = PySequence_GetItem(pods, i), *of[4] = {NULL}, *below = NULL;
        int64_t end;

        done = pod != NULL;
        for (int j = 0; done && j < 3 + with_sidecars; j++) {
            of[j] = PyObject_GetAttr(pod, called[j]);
            done = of[j] != NULL;
        }
        if (done) {
            PyObject *siblings = below_row(children, PyDict_GetItemWithError(namespaces, of[0]));

            below = siblings ? below_row(children, PyDict_GetItemWithError(siblings, of[1])) : NULL;
            done = !PyErr_Occurred() && add_containers(of[2], called[1], below, names, &rows) &&
                   (!with_sidecars || add_containers(of[3], called[1], below, names, &rows));
            end = (int64_t)(rows.used / sizeof end);
            done = done && put(&ends, (const char *)&end, sizeof end);
        }
        for (int j = 0; j < 4; j++) {
            Py_XDECREF(of[j]);
        }
        Py_XDECREF(pod);
    }
    if (done && !PyErr_Occurred()) {
        answer = Py_BuildValue("(Oy#y#)", names, rows.bytes ? rows.bytes : "", (Py_ssize_t)rows.used,
                               ends.bytes ? ends.bytes : "", (Py_ssize_t)ends.used);
    }
    for (int i = 0; i < 4; i++) {
        Py_XDECREF(called[i]);
    }
    Py_XDECREF(names);
    PyMem_Free(rows.bytes);
    PyMem_Free(ends.bytes);
    return answer;
}

static PyMethodDef functions[] = {
    {"write_pods", write_pods, METH_VARARGS,
     "write_pods(objects, names, columns, power, forms, holes, inner, frame, between, label_text, escaped, "
     "moment_text, window_text)\n\nThe pods of a list, `between` between them."},
    {"encode_pods", encode_pods, METH_VARARGS,
     "encode_pods(objects, names, columns, power, stamps, unicode)\n\nThe pods of a list as protobuf."},
    {"find_rows", find_rows, METH_VARARGS,
     "find_rows(pods, namespaces, children, with_sidecars)\n\nThe names of the containers of all pods, their rows and, "
     "for each pod, where its containers end, both as int64."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_objects",
    .m_doc = "Pods of a metrics list from columns to bytes. See collector/api/metrics_items.py.",
    .m_size = 0,
    .m_methods = functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__objects(void)
{
    return PyModuleDef_Init(&module_definition);
}
