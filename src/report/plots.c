#include "report_parts.h"
orth_status orth_report_plots_open(const char *folder) { (void)folder; return ORTH_OK; }
orth_status orth_report_plots(const json_t *document, const char *folder) { (void)document; (void)folder; return ORTH_OK; }
