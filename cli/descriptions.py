"""What each field of the settings is for: the help of the console's page, and of editors that know JSON Schema."""

DESCRIPTIONS = {
    "metric": "Which of the twelve metrics the row sends.",
    "active": "Whether the row is sent. An inactive row needs no other field.",
    "category_option_id": (
        "The category option combo of the metric, by UID or code. Required for every active row when Setup is "
        "'Using category option combo'."
    ),
    "category_option_combo_id_scheme": "Whether the category option ID is a UID or a code.",
    "custom_field_name": (
        "The item's field that holds the identifier of the metric's data element: a user field or a key of its "
        "custom data. Required for every active row when Setup is 'Different data elements per item'."
    ),
    "interval": "When the row is sent. Required for every active row.",
    "basis": "Whether the row is about the previous month or the current day. Required for every active row.",
    "prefix": "Text before the item's identifier. Both together are the code of the data element. Only with codes.",
    "use_dhis2": "Off: no schedule sends anything. Connection tests and dry runs work.",
    "basic_authentication": (
        "On: the login is a user name and password. Off: OAuth2 (user name, password, client and secret), up to "
        "DHIS2 2.41. With a personal access token it makes no difference."
    ),
    "url": "The address of DHIS2, with port and path if it has them.",
    "setup": (
        "How metrics and items are told apart in DHIS2: by category option combo, by different data elements per "
        "item, or one metric in a single data element for each item."
    ),
    "data_elements": "A row for each metric that is sent.",
    "data_set_id": "The data set of the values, by UID or code.",
    "data_set_id_scheme": "Whether the data set ID is a UID or a code.",
    "period_format": "YYYYMM, YYYY-MM, YYYYMMDD, YYYY-MM-DD or YYYY, or the name of the data set's period type in DHIS2.",
    "item_field_reference": (
        "The item's field that holds its identifier in DHIS2. Required unless Setup is 'Different data elements "
        "per item'."
    ),
    "data_element_id_scheme": "Whether the items' fields hold codes or UIDs of data elements.",
    "org_unit_scheme": "Whether the stores' field holds codes or UIDs of org units.",
    "store_field_reference": "The store's custom field that holds its identifier in DHIS2. Only stores with a value in it are sent.",
    "round_off": "Send whole numbers: 2.5 becomes 3.",
    "items_per_payload": "The most values in one call to DHIS2.",
    "include_field": (
        "The field of the items' checkbox 'Include in DHIS2 data push': user_field_4, user_field_7 or a key of "
        "their custom data. None: every item with an identifier is sent."
    ),
    "test_server": "DHIS2 is for trying things out: the console says Test on each page, and not Production.",
    "option_combo_field": (
        "Whether the category option ID is an attribute option combo (of the data set) or a category option combo "
        "(of the data element). Auto: what DHIS2 says, and an attribute until that is known."
    ),
    "expiring_within_days": "How many days ahead the metric 'expiring' looks.",
    "include_returns": "Count customer and supplier returns as adjustments.",
    "customers": (
        "Whether customers that are not stores are sent, by the requisitions, imprests and stock histories that "
        "their suppliers have typed in for them. Never where mSupply fetches these from DHIS2."
    ),
    "customer_field_reference": "The customer's custom field that holds its identifier in DHIS2. None: the field of the stores.",
    "customer_received": "Whether what a customer received is what it reports, or what stores have issued to it in mSupply.",
    "database_ca_certificate": (
        "PEM text of the authority that signed the certificate of mSupply's database, or 'public authorities' for "
        "a publicly known one. Certificate and name of the server are then verified."
    ),
    "database_channel_binding": (
        "Without a Database CA certificate the database must prove that it knows the password (SCRAM with channel "
        "binding). 'not_required' for a pooler that cannot do so, such as PgBouncer or RDS Proxy."
    ),
    "read_back": "Which stored values are read from DHIS2 again and compared: none, a sample, or all.",
    "dhis2_ca_certificate": "PEM text of the authority that signed the certificate of DHIS2, if it is not a publicly known one.",
    "allow_plain_http": "Send the login to a DHIS2 on the internet that has no https. Anybody on the way can read it.",
    "restate_months": "How many earlier months each monthly run computes again, because stores synchronise late.",
    "only_changes": "Do not send a value again while DHIS2 is known to hold it.",
    "full_send_every_days": "After how many days all values of a period are sent again, changed or not.",
    "delete_vanished": "Delete values in DHIS2 that it has acknowledged and that are no longer computed.",
}
