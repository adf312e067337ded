#include <orthant/base/number.h>

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 128, EXPONENT_MOST = 4096 };

static const char NOT_A_NUMBER[] = "is not a number";
static const char NOT_AN_INTEGER[] = "is not an integer";
static const char TOO_LARGE[] = "is too large";

/* A power of the grammar: a decimal's text and the integer exponent after '^' (1 when absent). */
typedef struct power {
    char decimal[LONGEST];
    int exponent;
} power;

/* The parts of an expression: numerator and, when `divided`, denominator. */
typedef struct expression {
    bool negative;
    bool divided;
    power numerator;
    power denominator;
} expression;

static const char *skip_spaces(const char *c)
{
    while (*c == ' ' || *c == '\t')
        c++;
    return c;
}

/* Copy digits, dropping underscores that stand between two digits. NULL when there is no digit. */
static const char *copy_digits(const char *c, char *out, size_t *length)
{
    if (!isdigit((unsigned char)*c))
        return NULL;
    for (; isdigit((unsigned char)*c) ||
           (*c == '_' && isdigit((unsigned char)c[-1]) && isdigit((unsigned char)c[1]));
         c++)
        if (*c != '_')
            out[(*length)++] = *c;
    return c;
}

/* digits [. digits] [e [sign] digits], also ".5" and "1." */
static const char *read_decimal(const char *c, char *out)
{
    size_t length = 0;
    bool digits = isdigit((unsigned char)*c) != 0;
    if (digits)
        c = copy_digits(c, out, &length);
    if (*c == '.') {
        out[length++] = *c++;
        if (isdigit((unsigned char)*c)) {
            c = copy_digits(c, out, &length);
            digits = true;
        }
    }
    if (!digits)
        return NULL;
    if (*c == 'e' || *c == 'E') {
        out[length++] = *c++;
        if (*c == '+' || *c == '-')
            out[length++] = *c++;
        c = copy_digits(c, out, &length);
    }
    out[length] = '\0';
    return c;
}

static const char *read_power(const char *c, power *out)
{
    c = read_decimal(skip_spaces(c), out->decimal);
    if (!c)
        return NULL;
    out->exponent = 1;
    c = skip_spaces(c);
    if (*c != '^')
        return c;
    c = skip_spaces(c + 1);
    int sign = *c == '-' ? -1 : 1;
    if (*c == '-' || *c == '+')
        c++;
    char digits[LONGEST];
    size_t length = 0;
    c = copy_digits(c, digits, &length);
    if (!c)
        return NULL;
    digits[length] = '\0';
    long exponent = strtol(digits, NULL, 10);
    out->exponent = sign * (int)(exponent > EXPONENT_MOST ? EXPONENT_MOST : exponent);
    return skip_spaces(c);
}

/* Whether `text` follows the grammar; splits it. */
static bool read_expression(const char *text, expression *out)
{
    if (strlen(text) >= LONGEST)
        return false;
    const char *c = skip_spaces(text);
    out->negative = *c == '-';
    if (*c == '-' || *c == '+')
        c++;
    c = read_power(c, &out->numerator);
    if (!c)
        return false;
    out->divided = *c == '/';
    if (out->divided) {
        c = read_power(c + 1, &out->denominator);
        if (!c)
            return false;
    }
    return *c == '\0';
}

static double power_value(const power *p)
{
    double value = strtod(p->decimal, NULL);
    return p->exponent == 1 ? value : pow(value, p->exponent);
}

const char *orth_number_parse(const char *text, double *out)
{
    expression e;
    if (!read_expression(text, &e))
        return NOT_A_NUMBER;
    double value = power_value(&e.numerator);
    if (e.divided)
        value /= power_value(&e.denominator);
    if (!isfinite(value))
        return "is not finite";
    *out = e.negative ? -value : value;
    return NULL;
}

/* A decimal as an exact integer, without going through a double. */
static const char *decimal_integer(const char *decimal, int64_t *out)
{
    int64_t value = 0, scale = 0;
    const char *c = decimal;
    bool fraction = false;
    const char *e = strpbrk(decimal, "eE");
    int64_t exponent = e ? strtol(e + 1, NULL, 10) : 0;
    /* Zeros at the end of the fraction ("1.500e1") must not overflow the mantissa. */
    const char *end = e ? e : decimal + strlen(decimal);
    if (strchr(decimal, '.'))
        while (end[-1] == '0')
            end--;
    for (; c < end; c++) {
        if (*c == '.') {
            fraction = true;
            continue;
        }
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *c - '0', &value))
            return fraction ? NOT_AN_INTEGER : TOO_LARGE;
        scale -= fraction;
    }
    if (exponent > EXPONENT_MOST && value != 0)
        return TOO_LARGE;
    if (exponent < -EXPONENT_MOST && value != 0)
        return NOT_AN_INTEGER;
    for (scale += exponent; scale > 0 && value != 0; scale--)
        if (__builtin_mul_overflow(value, 10, &value))
            return TOO_LARGE;
    for (; scale < 0 && value != 0; scale++) {
        if (value % 10 != 0)
            return NOT_AN_INTEGER;
        value /= 10;
    }
    *out = value;
    return NULL;
}

static const char *power_integer(const power *p, int64_t *out)
{
    int64_t base, value = 1;
    const char *why = decimal_integer(p->decimal, &base);
    if (why)
        return why;
    if (p->exponent < 0 && base != 1)
        return NOT_AN_INTEGER;
    if (base == 0 || base == 1) {
        *out = p->exponent == 0 ? 1 : base;
        return NULL;
    }
    for (int i = 0; i < p->exponent; i++)
        if (__builtin_mul_overflow(value, base, &value))
            return TOO_LARGE;
    *out = value;
    return NULL;
}

const char *orth_number_integer(const char *text, int64_t *out)
{
    expression e;
    if (!read_expression(text, &e))
        return NOT_A_NUMBER;
    int64_t value, denominator = 1;
    const char *why = power_integer(&e.numerator, &value);
    if (!why && e.divided)
        why = power_integer(&e.denominator, &denominator);
    if (why)
        return why;
    if (denominator == 0 || value % denominator != 0)
        return NOT_AN_INTEGER;
    value /= denominator;
    *out = e.negative ? -value : value;
    return NULL;
}

const char *orth_number_time(const char *text, double *out)
{
    static const char why[] = "is not a time HH:MM:SS";
    int64_t fields[3] = {0};
    const char *c = text;
    for (int i = 0; i < 3; i++) {
        int digits = 0;
        for (; isdigit((unsigned char)*c) && digits < 9; c++, digits++)
            fields[i] = fields[i] * 10 + (*c - '0');
        if (digits == 0 || (i > 0 && (digits != 2 || fields[i] > 59)))
            return why;
        if (*c != (i < 2 ? ':' : '\0'))
            return why;
        c++;
    }
    *out = (double)(fields[0] * 3600 + fields[1] * 60 + fields[2]);
    return NULL;
}

char *orth_number_write(double value, char out[ORTH_NUMBER_ROOM])
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, ORTH_NUMBER_ROOM, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    return out;
}
