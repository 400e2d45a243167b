/* Kernels in C, and what lets the judge run them.

       cc -O2 -o kernels kernels.c -lm
       mnp check --command ./kernels         cases by the judge, one line of JSON each
       ./kernels golden DIR                  the golden vectors that `mnp vectors --out DIR` wrote

   Arrays lie in safetensors files: eight bytes with the length of a header, the header in JSON, the numbers. All
   the JSON here is written by a program in one form, so strstr() finds what is wanted. The kernels compute in
   double; results are written in the type of the inputs. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    long shape[4]; /* axes that it does not have are 1 */
    int dims;
    double *data; /* C order */
} Array;

#define AT2(a, i, j) (a).data[(i) * (a).shape[1] + (j)]
#define AT3(a, i, j, k) (a).data[((i) * (a).shape[1] + (j)) * (a).shape[2] + (k)]
#define AT4(a, i, j, k, l) (a).data[(((i) * (a).shape[1] + (j)) * (a).shape[2] + (k)) * (a).shape[3] + (l)]

static const char *arguments;      /* JSON that has the numbers, such as "stride": 1 */
static char *header;               /* of the file that has the arrays */
static const char *prefix = "";    /* before the arrays' names: the golden vectors have "3/x" */
static const char *floats = "F64"; /* type of the inputs */

static struct {
    const char *name, *type;
    Array array;
} outputs[8];
static int output_count;

static void fail(const char *what, const char *name)
{
    printf("%s %s\n", what, name);
    exit(1);
}

static long size(Array a) { return a.shape[0] * a.shape[1] * a.shape[2] * a.shape[3]; }

/* An array of zeros; it lives until the program ends, which is soon. */
static Array zeros(int dims, long n, long c, long h, long w)
{
    Array a = {{n, c, h, w}, dims, NULL};
    a.data = calloc(size(a) + 1, sizeof(double));
    return a;
}

/* A number among the arguments; true is 1, false and what is not there are 0. */
static double number(const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\": ", name);
    const char *at = strstr(arguments, key);
    if (!at) return 0;
    at += strlen(key);
    return *at == 't' ? 1 : strtod(at, NULL);
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail("cannot read", path);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    char *bytes = calloc(length + 1, 1);
    if (fread(bytes, 1, length, file) != (size_t)length) fail("cannot read", path);
    fclose(file);
    return bytes;
}

/* The array of this name: in the header "x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}. */
static int has(const char *name, char **entry)
{
    char key[96];
    snprintf(key, sizeof key, "\"%s%s\":{\"dtype\":\"", prefix, name);
    *entry = strstr(header + 8, key);
    if (*entry) *entry += strlen(key);
    return *entry != NULL;
}

static Array get(const char *name)
{
    char *at, type[8] = "";
    if (!has(name, &at)) fail("no array", name);
    Array a = {{1, 1, 1, 1}, 0, NULL};
    sscanf(at, "%7[^\"]", type);
    for (at = strchr(at, '[') + 1; *at != ']'; at += *at == ',') a.shape[a.dims++] = strtol(at, &at, 10);
    long offset = strtol(strchr(at, '[') + 1, NULL, 10);
    uint64_t length;
    memcpy(&length, header, 8);
    const char *bytes = header + 8 + length + offset;
    a.data = calloc(size(a) + 1, sizeof(double));
    for (long i = 0; i < size(a); i++) {
        double f64;
        float f32;
        int64_t i64;
        int32_t i32;
        if (!strcmp(type, "F64")) memcpy(&f64, bytes + 8 * i, 8), a.data[i] = f64;
        else if (!strcmp(type, "F32")) memcpy(&f32, bytes + 4 * i, 4), a.data[i] = f32;
        else if (!strcmp(type, "I64")) memcpy(&i64, bytes + 8 * i, 8), a.data[i] = (double)i64;
        else if (!strcmp(type, "I32")) memcpy(&i32, bytes + 4 * i, 4), a.data[i] = i32;
        else a.data[i] = ((const unsigned char *)bytes)[i]; /* U8, BOOL */
    }
    if (type[0] == 'F') floats = !strcmp(type, "F64") ? "F64" : "F32";
    return a;
}

static void put(const char *name, const char *type, Array array)
{
    outputs[output_count].name = name;
    outputs[output_count].type = type;
    outputs[output_count++].array = array;
}

static void write_outputs(const char *path)
{
    char text[2048] = "{";
    long end = 0;
    for (int o = 0; o < output_count; o++) {
        Array a = outputs[o].array;
        long start = end, width = outputs[o].type[1] == '3' ? 4 : 8;
        char *at = text + strlen(text);
        at += sprintf(at, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", o ? "," : "", outputs[o].name, outputs[o].type);
        for (int d = 0; d < a.dims; d++) at += sprintf(at, "%s%ld", d ? "," : "", a.shape[d]);
        end += size(a) * width;
        sprintf(at, "],\"data_offsets\":[%ld,%ld]}", start, end);
    }
    strcat(text, "}");
    while (strlen(text) % 8) strcat(text, " ");
    FILE *file = fopen(path, "wb");
    if (!file) fail("cannot write", path);
    uint64_t length = strlen(text);
    fwrite(&length, 8, 1, file);
    fwrite(text, 1, length, file);
    for (int o = 0; o < output_count; o++)
        for (long i = 0; i < size(outputs[o].array); i++) {
            double f64 = outputs[o].array.data[i];
            float f32 = (float)f64;
            int64_t i64 = (int64_t)f64;
            if (!strcmp(outputs[o].type, "F64")) fwrite(&f64, 8, 1, file);
            else if (!strcmp(outputs[o].type, "F32")) fwrite(&f32, 4, 1, file);
            else fwrite(&i64, 8, 1, file);
        }
    fclose(file);
}

/* --- the kernels: each returns 1, or 0 if it is not written yet --- */

static int conv2d_forward(void)
{
    Array x = get("x"), weight = get("weight"), bias = get("bias");
    long stride = number("stride"), padding = number("padding");
    long H = x.shape[2], W = x.shape[3], KH = weight.shape[2], KW = weight.shape[3];
    long OH = (H + 2 * padding - KH) / stride + 1, OW = (W + 2 * padding - KW) / stride + 1;
    Array y = zeros(4, x.shape[0], weight.shape[0], OH, OW);
    /* the kernel itself */
    for (long n = 0; n < x.shape[0]; n++)
        for (long f = 0; f < weight.shape[0]; f++)
            for (long oh = 0; oh < OH; oh++)
                for (long ow = 0; ow < OW; ow++) {
                    double sum = bias.data[f];
                    for (long c = 0; c < x.shape[1]; c++)
                        for (long i = 0; i < KH; i++)
                            for (long j = 0; j < KW; j++) {
                                long h = oh * stride + i - padding, w = ow * stride + j - padding;
                                if (h < 0 || h >= H || w < 0 || w >= W) continue; /* the padding is zero */
                                sum += AT4(x, n, c, h, w) * AT4(weight, f, c, i, j);
                            }
                    AT4(y, n, f, oh, ow) = sum;
                }
    put("y", floats, y);
    return 1;
}

static int conv2d_backward(void)
{
    Array dy = get("dy"), x = get("x"), weight = get("weight");
    long stride = number("stride"), padding = number("padding"), need_dx = number("need_dx");
    long H = x.shape[2], W = x.shape[3], KH = weight.shape[2], KW = weight.shape[3];
    Array dx = zeros(4, x.shape[0], x.shape[1], H, W), dbias = zeros(1, weight.shape[0], 1, 1, 1);
    Array dweight = zeros(4, weight.shape[0], weight.shape[1], KH, KW);
    /* the kernel itself */
    for (long n = 0; n < x.shape[0]; n++)
        for (long f = 0; f < weight.shape[0]; f++)
            for (long oh = 0; oh < dy.shape[2]; oh++)
                for (long ow = 0; ow < dy.shape[3]; ow++) {
                    double d = AT4(dy, n, f, oh, ow);
                    dbias.data[f] += d;
                    for (long c = 0; c < x.shape[1]; c++)
                        for (long i = 0; i < KH; i++)
                            for (long j = 0; j < KW; j++) {
                                long h = oh * stride + i - padding, w = ow * stride + j - padding;
                                if (h < 0 || h >= H || w < 0 || w >= W) continue;
                                AT4(dx, n, c, h, w) += d * AT4(weight, f, c, i, j);
                                AT4(dweight, f, c, i, j) += d * AT4(x, n, c, h, w);
                            }
                }
    if (need_dx) put("dx", floats, dx);
    put("dweight", floats, dweight);
    put("dbias", floats, dbias);
    return 1;
}

static int maxpool2d_forward(void)
{
    Array x = get("x");
    long size = number("size"), stride = number("stride");
    long OH = (x.shape[2] - size) / stride + 1, OW = (x.shape[3] - size) / stride + 1;
    Array y = zeros(4, x.shape[0], x.shape[1], OH, OW), winner = zeros(4, x.shape[0], x.shape[1], OH, OW);
    /* the kernel itself */
    for (long n = 0; n < x.shape[0]; n++)
        for (long c = 0; c < x.shape[1]; c++)
            for (long oh = 0; oh < OH; oh++)
                for (long ow = 0; ow < OW; ow++) {
                    double best = AT4(x, n, c, oh * stride, ow * stride);
                    long at = 0;
                    for (long i = 0; i < size; i++)
                        for (long j = 0; j < size; j++) {
                            double value = AT4(x, n, c, oh * stride + i, ow * stride + j);
                            /* the first of equal values wins, and a NaN over any number */
                            if (value > best || (isnan(value) && !isnan(best))) best = value, at = i * size + j;
                        }
                    AT4(y, n, c, oh, ow) = best;
                    AT4(winner, n, c, oh, ow) = at;
                }
    put("y", floats, y);
    put("winner", "I64", winner);
    return 1;
}

static int maxout_forward(void)
{
    Array z = get("z"); /* (N, units, k) */
    Array y = zeros(2, z.shape[0], z.shape[1], 1, 1), winner = zeros(2, z.shape[0], z.shape[1], 1, 1);
    /* the kernel itself */
    for (long n = 0; n < z.shape[0]; n++)
        for (long u = 0; u < z.shape[1]; u++) {
            double best = AT3(z, n, u, 0);
            long at = 0;
            for (long j = 1; j < z.shape[2]; j++) {
                double value = AT3(z, n, u, j);
                /* the first of equal values wins, and a NaN over any number */
                if (value > best || (isnan(value) && !isnan(best))) best = value, at = j;
            }
            AT2(y, n, u) = best;
            AT2(winner, n, u) = at;
        }
    put("y", floats, y);
    put("winner", "I64", winner);
    return 1;
}

static int maxout_backward(void)
{
    Array dy = get("dy"), winner = get("winner");
    Array dz = zeros(3, dy.shape[0], dy.shape[1], (long)number("k"), 1);
    /* the kernel itself */
    for (long n = 0; n < dy.shape[0]; n++)
        for (long u = 0; u < dy.shape[1]; u++) AT3(dz, n, u, (long)AT2(winner, n, u)) = AT2(dy, n, u);
    put("dz", floats, dz);
    return 1;
}

static int win_counts(void)
{
    Array winner = get("winner");
    Array counts = zeros(2, winner.shape[1], (long)number("k"), 1, 1);
    /* the kernel itself */
    for (long n = 0; n < winner.shape[0]; n++)
        for (long u = 0; u < winner.shape[1]; u++) AT2(counts, u, (long)AT2(winner, n, u)) += 1;
    put("counts", "I64", counts);
    return 1;
}

static const struct {
    const char *name;
    int (*run)(void);
} kernels[] = {
    {"conv2d_forward", conv2d_forward},       {"conv2d_backward", conv2d_backward},
    {"maxpool2d_forward", maxpool2d_forward}, {"maxout_forward", maxout_forward},
    {"maxout_backward", maxout_backward},     {"win_counts", win_counts},
};
enum { KERNELS = sizeof kernels / sizeof kernels[0] };

/* --- the judge's lines --- */

/* The text after "name": in a line of JSON, up to the next quotation mark. */
static char *text_of(const char *line, const char *name)
{
    static char text[3][4096];
    static int next;
    char key[64], *found = text[next++ % 3];
    snprintf(key, sizeof key, "\"%s\": \"", name);
    const char *at = strstr(line, key);
    *found = 0;
    if (at) sscanf(at + strlen(key), "%4095[^\"]", found);
    return found;
}

static void answer(const char *line)
{
    const char *name = text_of(line, "kernel");
    if (!strcmp(name, "list")) {
        for (int i = 0; i < KERNELS; i++) printf("%s ", kernels[i].name);
        puts("");
        return;
    }
    for (int i = 0; i < KERNELS; i++)
        if (!strcmp(name, kernels[i].name)) {
            arguments = line;
            header = read_file(text_of(line, "inputs"));
            output_count = 0;
            int written = kernels[i].run();
            if (written) write_outputs(text_of(line, "outputs"));
            puts(written ? "ok" : "not implemented");
            return;
        }
    puts("not implemented");
}

/* --- the golden vectors --- */

/* Whether an output agrees: |mine - right| <= tolerance * max |right|, NaN with NaN. */
static int agrees(Array mine, Array right, double tolerance)
{
    double largest = 0;
    if (size(mine) != size(right)) return 0;
    for (long i = 0; i < size(right); i++)
        if (isfinite(right.data[i])) largest = fmax(largest, fabs(right.data[i]));
    for (long i = 0; i < size(right); i++) {
        double a = mine.data[i], b = right.data[i];
        if (!(fabs(a - b) <= tolerance * largest || a == b || (isnan(a) && isnan(b)))) return 0;
    }
    return 1;
}

static int golden(const char *folder)
{
    char path[4096], key[64], name[16], *entry;
    int wrong = 0, cases = 0;
    snprintf(path, sizeof path, "%s/manifest.json", folder);
    char *manifest = read_file(path);
    for (int i = 0; i < KERNELS; i++) {
        snprintf(path, sizeof path, "%s/%s.safetensors", folder, kernels[i].name);
        header = read_file(path);
        snprintf(key, sizeof key, "\"%s\": {", kernels[i].name);
        arguments = strstr(manifest, key); /* from here the first "float32": and the first "case": are its own */
        double tolerance = number("float32");
        for (int n = 0; (arguments = strstr(arguments, "\"case\": ")) && atoi(arguments + 8) == n; n++, arguments++) {
            snprintf(name, sizeof name, "%d/", n);
            prefix = name;
            output_count = 0;
            if (!kernels[i].run()) continue;
            for (int o = 0; o < output_count; o++) {
                double limit = outputs[o].type[0] == 'I' ? 0 : tolerance;
                if (has(outputs[o].name, &entry) && agrees(outputs[o].array, get(outputs[o].name), limit)) continue;
                printf("%s, case %d: %s differs\n", kernels[i].name, n, outputs[o].name);
                wrong++;
            }
            cases++;
        }
    }
    printf("%d golden cases, %d outputs differ\n", cases, wrong);
    return wrong > 0;
}

int main(int count, char **words)
{
    static char line[16384];
    if (count == 3 && !strcmp(words[1], "golden")) return golden(words[2]);
    while (fgets(line, sizeof line, stdin)) {
        answer(line);
        fflush(stdout);
    }
    return 0;
}
