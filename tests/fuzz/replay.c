/* SPDX-License-Identifier: MIT
 *
 * Runs a fuzzer over files and folders of inputs, without a fuzzing engine: so that every build of
 * every compiler runs the corpus. replay_NAME PATH... */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "input.h"

#define INPUT_MAX (1024 * 1024)
#define LIMIT_S 300

/* Shared with the process that runs the inputs, which may not come back. */
struct progress {
    int n_done;
    char path[4096];
};

static struct progress *progress;

static void run_file(const char *path)
{
    static uint8_t whole[INPUT_MAX];
    FILE *file = fopen(path, "rb");
    snprintf(progress->path, sizeof(progress->path), "%s", path);
    if (file == NULL) {
        perror(path);
        _exit(EXIT_FAILURE);
    }
    size_t n = fread(whole, 1, sizeof(whole), file);
    fclose(file);
    /* A block of exactly the input's size, so that sanitizers see what reads past it. */
    uint8_t *data = malloc(n > 0 ? n : 1);
    fuzz_check(data != NULL);
    memcpy(data, whole, n);
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    progress->n_done++;
}

static void run_path(const char *path)
{
    struct stat st;
    struct dirent **entries = NULL;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        run_file(path);
        return;
    }
    int n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char inner[4096];
        snprintf(inner, sizeof(inner), "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') {
            run_path(inner);
        }
        free(entries[i]);
    }
    free(entries);
}

__attribute__((noreturn)) static void run_all(int argc, char **argv)
{
    alarm(LIMIT_S);
    for (int i = 1; i < argc; i++) {
        run_path(argv[i]);
    }
    exit(EXIT_SUCCESS);
}

static const char *name_of(const char *program)
{
    const char *slash = strrchr(program, '/');
    const char *name = slash != NULL ? slash + 1 : program;
    return strncmp(name, "replay_", 7) == 0 ? name + 7 : name;
}

int main(int argc, char **argv)
{
    const char *name = name_of(argv[0]);
    int status = 0;
    progress =
        mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fuzz_check(progress != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        run_all(argc, argv);
    }
    fuzz_check(child > 0 && waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS) {
        printf("FAIL fuzz.%s: %s: %s %d\n", name, progress->path,
               WIFSIGNALED(status) ? "signal" : "exit status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return EXIT_FAILURE;
    }
    if (progress->n_done == 0) {
        printf("FAIL fuzz.%s: no inputs\n", name);
        return EXIT_FAILURE;
    }
    printf("# fuzz.%s: %d inputs\nPASS fuzz.%s\n", name, progress->n_done, name);
    return EXIT_SUCCESS;
}
