/* SPDX-License-Identifier: MIT
 * Runs a fuzz target over the files that are its arguments: the kept corpus, in the ordinary tests.
 */
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void replay(const char *name) {
    static unsigned char bytes[1 << 16];
    FILE *file = fopen(name, "rb");
    if (file == NULL) {
        perror(name);
        exit(1);
    }
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    /* Of its own size, so that a sanitizer sees who reads beyond it. */
    unsigned char *data = malloc(size + 1);
    if (data == NULL)
        exit(1);
    for (size_t i = 0; i < size; i++)
        data[i] = bytes[i];
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("%d inputs\n", argc - 1);
    return argc > 1 ? 0 : 1;
}
