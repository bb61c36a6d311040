/* libcuda.so.1 as the CUDA bindings see it: they ask for every other entry point by name, and Python answers.

An entry point of Python's stands behind a slot, which does nothing any more once Python has ended: C++ objects of the
bindings' live longer. Arguments are integers and addresses; all go through as 64 bits. */

typedef unsigned long long Word;
typedef int (*Entry)(Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word);
typedef int (*Resolver)(const char *name, void **entry, int version, Word flags, int *found);

enum { SUCCESS, SLOTS = 800, FIRST = 100 };

static Resolver resolver;
static Entry entries[SLOTS];
static int used, ended;

#define SLOT(n)                                                                                                       \
  static int slot_##n(Word a, Word b, Word c, Word d, Word e, Word f, Word g, Word h, Word i, Word j, Word k) {       \
    return ended ? SUCCESS : entries[n - FIRST](a, b, c, d, e, f, g, h, i, j, k);                                     \
  }
#define NAME(n) slot_##n,
#define TEN(each, n)                                                                                                  \
  each(n##0) each(n##1) each(n##2) each(n##3) each(n##4) each(n##5) each(n##6) each(n##7) each(n##8) each(n##9)
#define HUNDRED(each, n)                                                                                              \
  TEN(each, n##0) TEN(each, n##1) TEN(each, n##2) TEN(each, n##3) TEN(each, n##4) TEN(each, n##5) TEN(each, n##6)     \
  TEN(each, n##7) TEN(each, n##8) TEN(each, n##9)
#define ALL(each)                                                                                                     \
  HUNDRED(each, 1) HUNDRED(each, 2) HUNDRED(each, 3) HUNDRED(each, 4) HUNDRED(each, 5) HUNDRED(each, 6)               \
  HUNDRED(each, 7) HUNDRED(each, 8)

ALL(SLOT)

static Entry slots[SLOTS] = {ALL(NAME)};

void stub_answer(Resolver given) { resolver = given; }

/* A slot for an entry point; 0 where none is left. */
Entry stub_slot(Entry entry) {
  if (used == SLOTS) return 0;
  entries[used] = entry;
  return slots[used++];
}

void stub_end(void) { ended = 1; }

int cuGetProcAddress_v2(const char *name, void **entry, int version, Word flags, int *found) {
  return ended ? SUCCESS : resolver(name, entry, version, flags, found);
}

int cuGetProcAddress(const char *name, void **entry, int version, Word flags) {
  return cuGetProcAddress_v2(name, entry, version, flags, 0);
}
