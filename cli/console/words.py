"""Every sentence and word of the console that is not the product's own: the catalogue that a second language needs."""

from collections.abc import Mapping

WORDS: Mapping[str, str] = {
    "title": "msupply-dhis2",
    "skip": "Skip to the content",
    "nav.label": "Pages",
    "nav.tab": "DHIS2 tab",
    "head.server": "DHIS2",
    "head.data_set": "Data set",
    "head.database": "mSupply",
    "head.time_zone": "Time zone",
    "head.none": "not filled in yet",
    "error.title": "That did not work",
    "error.not_found": "There is no such page. Choose a page above.",
    "error.unexpected": "The console itself failed. The terminal in which you started it shows where.",
    "error.upload": "The file is not text in UTF-8. Save it as UTF-8, and choose it again.",
    "security.host": "The console is for this machine only. Open the address that the console printed when it started.",
    "security.unknown": "The console does not know this browser. Open the address that the console printed when it started. "
    "The address works once. If it was used, stop the console with Ctrl-C and start it again.",
    "security.token": "This address was used already, or it is of an earlier start. Stop the console with Ctrl-C, start it "
    "again, and open the address that it prints then.",
    "security.origin": "This request does not come from a page of the console. Nothing was changed. Open the console, and do "
    "it there.",
    "login.typed": "The login that you typed",
    "login.missing": "The console has no login of DHIS2. Type it in the DHIS2 tab, and press Test connection.",
    "login.token": "the personal access token",
    "settings.unreadable": "{file} cannot be read: {why}. Look at its rights, or name another file with --settings.",
    "settings.unwritable": "{file} cannot be written: {why}. Look at the rights of its folder. Nothing was changed.",
    "settings.saved_since": "Somebody saved the settings after you opened this page. Nothing of yours was saved. Open the DHIS2 "
    "tab anew, look at what changed, and make your change again.",
    "tab.title": "DHIS2 tab",
    "tab.saved": "The settings are saved in {file}. The former ones are in {before}.",
    "tab.saved_first": "The settings are saved in {file}.",
    "tab.complete": "The settings are complete.",
    "tab.faults": "To correct",
    "tab.incomplete": "Use DHIS2 is off, so nothing is sent. Before it can be on, and for a preview:",
    "tab.warnings": "Please note",
    "tab.empty": "The file {file} does not exist yet. Fill in the fields and press Save; nothing is sent while Use DHIS2 is off.",
    "tab.overridden": "The command line gives another address: {url}. This one is used by whoever starts without it.",
    "tab.choose": "Choose …",
    "tab.rows": "Data elements to push",
    "tab.rows_help": "A row for each metric. Tick Active for the metrics that are sent.",
    "tab.row": "Metric",
    "tab.add_row": "Add a row for",
    "tab.add": "Add",
    "tab.beyond": "More settings, which mSupply's tab does not have",
    "tab.check": "Check",
    "tab.save": "Save …",
    "tab.file": "As a file",
    "tab.file_help": "The settings are the file {file}. You can edit it elsewhere, too.",
    "tab.download": "Download the settings (YAML)",
    "tab.upload": "Take the settings from a file (YAML or JSON)",
    "tab.look": "Look at the differences …",
    "tab.on": "on",
    "tab.off": "off",
    "tab.field_of_row": "{row}: {field}",
    "difference.title": "What is saved",
    "difference.none": "Nothing differs from {file}. There is nothing to save.",
    "difference.caption": "Differences from {file}",
    "difference.field": "Field",
    "difference.before": "Until now",
    "difference.after": "From now on",
    "difference.nothing": "(empty)",
    "difference.comments": "The comments between the fields of {file} are not kept. The whole former file is kept as {before}.",
    "difference.cannot": "This cannot be saved while Use DHIS2 is on. Correct the faults, or switch Use DHIS2 off.",
    "difference.misread": "This cannot be saved, because a part of it cannot be read. Correct the faults first.",
    "difference.save": "Save these settings",
    "difference.edit": "Go on editing",
}

_CHOICES: Mapping[str, str] = {"uid": "UID", "code": "code"}


def say(key: str, **facts: object) -> str:
    """Return the words of a key, with facts filled in."""
    return WORDS[key].format(**facts)


def choice_in_words(choice: str) -> str:
    """Return the words of a choice of the settings that has no label of its own."""
    return _CHOICES.get(choice, choice.replace("_", " "))
