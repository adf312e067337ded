#ifndef ORTHANT_RUN_KEYS_H
#define ORTHANT_RUN_KEYS_H

#include <orthant/run/config.h>

#include <stddef.h>

/** What a key's value is, and so what its field in orth_config is. */
typedef enum orth_key_type {
    ORTH_KEY_STRING,  ///< char *
    ORTH_KEY_STRINGS, ///< orth_strings
    ORTH_KEY_INTEGER, ///< int64_t
    ORTH_KEY_NUMBER,  ///< double
    ORTH_KEY_BOOLEAN, ///< bool
    ORTH_KEY_CHOICE,  ///< an enum
    ORTH_KEY_TIME,    ///< double, seconds; written HH:MM:SS
    ORTH_KEY_INTERVAL ///< orth_interval; steps or HH:MM:SS
} orth_key_type;

/** Allowed values of integers and numbers. */
typedef struct orth_key_range {
    double low;
    double high; ///< INFINITY: no limit
    bool above;  ///< low itself is refused
    bool below;  ///< high itself is refused
} orth_key_range;

/** One configuration key. */
typedef struct orth_key {
    const char *path;           ///< "model.k"
    orth_key_type type;         ///< of the value
    size_t offset;              ///< of the field in orth_config
    const char *fallback;       ///< the default as text; NULL: the key has none
    const char *absent;         ///< the word that leaves the field empty or 0: "none", "auto", NULL
    orth_key_range range;       ///< of an integer or number
    const char *const *choices; ///< of a choice, in enum order, ending with NULL
    bool binds;                 ///< a checkpoint can only be continued with the same value
    const char *help;           ///< what it does, one sentence or two
} orth_key;

/** The table: drives parsing, defaults, checks, resolved text, help and compatibility. Ends with a
 * NULL path. */
extern const orth_key orth_keys[];

enum { ORTH_KEYS_MOST = 64 };

/** Where a value was given. */
typedef struct orth_origin {
    const char *source; ///< the file's name; NULL: the key keeps its default
    int64_t line;       ///< from 1; 0: an override
} orth_origin;

/** Room for what orth_origin_text, orth_key_expected and orth_key_nearest write. */
enum { ORTH_PLACE_ROOM = 512, ORTH_EXPECTED_ROOM = 256, ORTH_PATH_ROOM = 64 };

/** "run.yaml, line 12", "--set" or "default". Returns `out`. */
char *orth_origin_text(orth_origin origin, char out[ORTH_PLACE_ROOM]);

/** What may be given for a key: "an integer >= 1, or none". Returns `out`. */
char *orth_key_expected(const orth_key *key, char out[ORTH_EXPECTED_ROOM]);

/** Index in orth_keys, -1 when there is no such key. */
int orth_key_find(const char *path);

/** The name that is closest to `path`: of a key or, for a path without a dot, also of a section.
 * Returns `out`. */
char *orth_key_nearest(const char *path, char out[ORTH_PATH_ROOM]);

/** Length of a key's section: of "model" in "model.k". */
size_t orth_key_section(const orth_key *key);

/** A value as read, before its key gives it a type. */
typedef struct orth_raw_value {
    char **items; ///< owned; one unless `is_list`
    int64_t count;
    bool is_list;
} orth_raw_value;

/** Check a value against its key and store it. ORTH_ERR_USAGE names place, key, value and what is
 * allowed. The field's earlier content is freed. */
orth_status orth_key_store(const orth_key *key, const orth_raw_value *value, orth_origin origin,
                           orth_config *config);

/** A field as orth_key_store reads it, owned by the caller; a list's items are joined by ", ".
 * NULL in *out: the field is empty and the key has no word for that. */
orth_status orth_key_text(const orth_key *key, const orth_config *config, char **out);

/** The configuration while it is being put together. */
typedef struct orth_config_loader {
    orth_config *config;
    orth_origin origins[ORTH_KEYS_MOST]; ///< by key
} orth_config_loader;

/** Store a value by path: refuses unknown keys and keys given twice in one file. */
orth_status orth_config_give(orth_config_loader *loader, const char *path,
                             const orth_raw_value *value, orth_origin origin);

/** Read a YAML document into the loader. */
orth_status orth_yaml_read(const char *text, int64_t length, const char *name,
                           orth_config_loader *loader);

/** Read a YAML flow list ("[a.h5, b.h5]"); `name` stands for it in errors. */
orth_status orth_yaml_list(const char *text, const char *name, orth_raw_value *out);

/** Free the items. */
void orth_raw_value_free(orth_raw_value *value);

/** Append a copy of `length` bytes; refuses zero bytes within. */
orth_status orth_raw_value_add(orth_raw_value *value, const char *text, size_t length,
                               orth_origin origin);

/** Rules between keys, and what follows from keys not given. */
orth_status orth_config_check(orth_config_loader *loader);

#endif
