/*
 * Linked into the programs of the sanitizer presets alone. MPI unloads its plug-ins before the
 * process ends; then the sanitizers cannot name the library of what they report, and no suppression
 * matches. So nothing is unloaded.
 */
int dlclose(void *handle);

int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
