"""Medicines and supplies by their generic names, with codes of our own."""

import hashlib
import json
import random
from dataclasses import dataclass, field

# Generic name: strengths and form | unit | pack sizes | units that a clinic uses in a day | rises in the rains.
_GENERIC = """
Acetylsalicylic acid: 100 mg tablet, 300 mg tablet | tablet | 100 1000 | 9
Aciclovir: 200 mg tablet, 400 mg tablet | tablet | 100 | 2
Albendazole: 200 mg tablet, 400 mg tablet | tablet | 100 1000 | 6 | rains
Allopurinol: 100 mg tablet, 300 mg tablet | tablet | 100 | 2
Amitriptyline: 10 mg tablet, 25 mg tablet | tablet | 100 | 3
Amlodipine: 5 mg tablet, 10 mg tablet | tablet | 30 100 | 14
Amoxicillin: 250 mg capsule, 500 mg capsule, 125 mg dispersible tablet | capsule | 100 1000 | 30
Amoxicillin: 125 mg/5 ml powder for suspension, 250 mg/5 ml powder for suspension | bottle | 1 10 | 2
Amoxicillin + clavulanic acid: 500 mg + 125 mg tablet, 250 mg + 62.5 mg tablet | tablet | 20 100 | 6
Ampicillin: 500 mg powder for injection, 1 g powder for injection | vial | 10 50 | 2
Artemether + lumefantrine: 20 mg + 120 mg tablet, 80 mg + 480 mg tablet | tablet | 24 30 | 18 | rains
Artesunate: 60 mg powder for injection, 30 mg powder for injection | vial | 1 10 | 1 | rains
Ascorbic acid: 50 mg tablet, 250 mg tablet | tablet | 100 1000 | 5
Atenolol: 25 mg tablet, 50 mg tablet, 100 mg tablet | tablet | 28 100 | 7
Atropine: 0.6 mg/ml injection, 1 mg/ml injection | ampoule | 10 100 | 0.3
Azithromycin: 250 mg tablet, 500 mg tablet, 200 mg/5 ml suspension | tablet | 6 30 | 3
Benzathine benzylpenicillin: 1.2 MIU powder for injection, 2.4 MIU powder for injection | vial | 1 50 | 1
Benzylpenicillin: 1 MIU powder for injection, 5 MIU powder for injection | vial | 10 50 | 2
Bisacodyl: 5 mg tablet, 10 mg suppository | tablet | 30 100 | 1
Carbamazepine: 100 mg tablet, 200 mg tablet | tablet | 100 500 | 4
Cefalexin: 250 mg capsule, 500 mg capsule | capsule | 20 100 | 6
Cefixime: 200 mg capsule, 400 mg capsule | capsule | 10 100 | 2
Ceftriaxone: 250 mg powder for injection, 1 g powder for injection | vial | 1 10 | 2
Cetirizine: 5 mg tablet, 10 mg tablet | tablet | 30 100 | 8
Chloramphenicol: 0.5% eye drops, 1% eye ointment, 1 g powder for injection | tube | 1 10 | 1
Chlorhexidine: 5% solution, 7.1% gel, 4% solution | bottle | 1 12 | 0.5
Chlorphenamine: 4 mg tablet, 10 mg/ml injection | tablet | 100 1000 | 9
Ciprofloxacin: 250 mg tablet, 500 mg tablet, 0.3% eye drops | tablet | 10 100 | 8
Clotrimazole: 1% cream, 500 mg pessary, 100 mg pessary | tube | 1 10 | 1
Cloxacillin: 250 mg capsule, 500 mg capsule, 500 mg powder for injection | capsule | 100 500 | 8
Codeine: 15 mg tablet, 30 mg tablet | tablet | 28 100 | 1
Dexamethasone: 0.5 mg tablet, 4 mg tablet, 4 mg/ml injection | tablet | 30 100 | 2
Diazepam: 5 mg tablet, 5 mg/ml injection | tablet | 100 500 | 1
Diclofenac: 25 mg tablet, 50 mg tablet, 25 mg/ml injection | tablet | 100 1000 | 9
Digoxin: 0.25 mg tablet, 0.0625 mg tablet | tablet | 28 100 | 1
Dolutegravir: 10 mg dispersible tablet, 50 mg tablet | tablet | 30 90 | 8
Doxycycline: 50 mg capsule, 100 mg capsule | capsule | 100 1000 | 8
Enalapril: 2.5 mg tablet, 5 mg tablet, 10 mg tablet | tablet | 28 100 | 7
Epinephrine: 0.1 mg/ml injection, 1 mg/ml injection | ampoule | 10 100 | 0.3
Erythromycin: 250 mg tablet, 500 mg tablet, 125 mg/5 ml suspension | tablet | 100 1000 | 7
Ethambutol: 100 mg tablet, 400 mg tablet | tablet | 28 672 | 4
Ferrous sulfate + folic acid: 200 mg + 0.4 mg tablet, 60 mg + 0.4 mg tablet | tablet | 100 1000 | 25
Fluconazole: 50 mg capsule, 150 mg capsule, 200 mg capsule | capsule | 1 10 | 2
Fluoxetine: 10 mg capsule, 20 mg capsule | capsule | 28 100 | 2
Fluphenazine: 25 mg/ml injection, 2.5 mg tablet | ampoule | 10 | 0.2
Folic acid: 0.4 mg tablet, 1 mg tablet, 5 mg tablet | tablet | 100 1000 | 10
Furosemide: 40 mg tablet, 10 mg/ml injection | tablet | 28 100 | 5
Gentamicin: 10 mg/ml injection, 40 mg/ml injection, 0.3% eye drops | ampoule | 10 100 | 2
Glibenclamide: 2.5 mg tablet, 5 mg tablet | tablet | 28 100 | 8
Gliclazide: 30 mg tablet, 80 mg tablet | tablet | 28 60 | 7
Glucose: 5% infusion 500 ml, 10% infusion 500 ml, 50% injection | bottle | 1 20 | 1
Griseofulvin: 125 mg tablet, 500 mg tablet | tablet | 100 | 2
Haloperidol: 1.5 mg tablet, 5 mg tablet, 5 mg/ml injection | tablet | 28 100 | 1
Hydrochlorothiazide: 12.5 mg tablet, 25 mg tablet | tablet | 28 100 | 9
Hydrocortisone: 1% cream, 100 mg powder for injection, 10 mg tablet | tube | 1 10 | 1
Hyoscine butylbromide: 10 mg tablet, 20 mg/ml injection | tablet | 56 100 | 2
Ibuprofen: 200 mg tablet, 400 mg tablet, 100 mg/5 ml suspension | tablet | 100 1000 | 22
Insulin, isophane: 100 IU/ml vial, 100 IU/ml cartridge | vial | 1 5 | 0.5
Insulin, soluble: 100 IU/ml vial, 100 IU/ml cartridge | vial | 1 5 | 0.4
Isoniazid: 100 mg tablet, 300 mg tablet | tablet | 28 672 | 6
Ivermectin: 3 mg tablet, 6 mg tablet | tablet | 4 100 | 3
Ketamine: 10 mg/ml injection, 50 mg/ml injection | vial | 1 10 | 0.2
Levonorgestrel: 0.03 mg tablet, 1.5 mg tablet | tablet | 28 35 | 4
Levothyroxine: 25 microgram tablet, 50 microgram tablet, 100 microgram tablet | tablet | 28 100 | 2
Lidocaine: 1% injection, 2% injection | vial | 1 20 | 0.6
Loperamide: 2 mg capsule, 2 mg tablet | capsule | 12 100 | 3 | rains
Loratadine: 10 mg tablet, 5 mg/5 ml syrup | tablet | 30 100 | 4
Losartan: 25 mg tablet, 50 mg tablet, 100 mg tablet | tablet | 28 30 | 6
Magnesium sulfate: 500 mg/ml injection, 50% injection 10 ml | ampoule | 10 20 | 0.3
Mebendazole: 100 mg tablet, 500 mg tablet | tablet | 100 1000 | 6 | rains
Medroxyprogesterone: 150 mg/ml injection, 5 mg tablet | vial | 1 25 | 1
Metformin: 500 mg tablet, 850 mg tablet, 1 g tablet | tablet | 100 1000 | 24
Methyldopa: 250 mg tablet, 500 mg tablet | tablet | 100 500 | 4
Metoclopramide: 10 mg tablet, 5 mg/ml injection | tablet | 28 100 | 3
Metronidazole: 200 mg tablet, 400 mg tablet, 5 mg/ml infusion | tablet | 100 1000 | 15 | rains
Miconazole: 2% cream, 2% oral gel | tube | 1 10 | 1
Misoprostol: 25 microgram tablet, 200 microgram tablet | tablet | 4 28 | 0.3
Morphine: 10 mg tablet, 10 mg/ml injection | tablet | 10 60 | 0.5
Nifedipine: 10 mg tablet, 20 mg tablet | tablet | 28 100 | 5
Nystatin: 100,000 IU/ml suspension, 500,000 IU tablet | bottle | 1 10 | 0.6
Omeprazole: 10 mg capsule, 20 mg capsule, 40 mg capsule | capsule | 28 100 | 12
Oral rehydration salts: 20.5 g sachet for 1 l, 4.1 g sachet for 200 ml | sachet | 1 100 | 8 | rains
Oxytocin: 5 IU/ml injection, 10 IU/ml injection | ampoule | 10 | 0.7
Paracetamol: 100 mg tablet, 500 mg tablet, 125 mg suppository | tablet | 100 1000 | 60
Paracetamol: 120 mg/5 ml suspension, 250 mg/5 ml suspension | bottle | 1 24 | 3
Phenobarbital: 15 mg tablet, 30 mg tablet, 60 mg tablet | tablet | 100 1000 | 4
Phenoxymethylpenicillin: 250 mg tablet, 500 mg tablet | tablet | 100 1000 | 7
Phenytoin: 50 mg tablet, 100 mg tablet | tablet | 100 1000 | 3
Povidone iodine: 10% solution, 7.5% solution | bottle | 1 12 | 0.6
Prednisolone: 1 mg tablet, 5 mg tablet, 20 mg tablet | tablet | 28 1000 | 8
Primaquine: 7.5 mg tablet, 15 mg tablet | tablet | 100 1000 | 2 | rains
Promethazine: 10 mg tablet, 25 mg tablet, 25 mg/ml injection | tablet | 28 100 | 3
Propranolol: 10 mg tablet, 40 mg tablet | tablet | 28 100 | 3
Pyrazinamide: 150 mg tablet, 400 mg tablet | tablet | 28 672 | 4
Pyridoxine: 10 mg tablet, 25 mg tablet, 50 mg tablet | tablet | 100 1000 | 4
Quinine: 300 mg tablet, 300 mg/ml injection | tablet | 100 500 | 2 | rains
Ranitidine: 150 mg tablet, 25 mg/ml injection | tablet | 20 100 | 4
Retinol: 100,000 IU capsule, 200,000 IU capsule | capsule | 100 500 | 3
Rifampicin: 150 mg capsule, 300 mg capsule | capsule | 28 100 | 4
Risperidone: 1 mg tablet, 2 mg tablet | tablet | 20 60 | 2
Salbutamol: 100 microgram/dose inhaler, 2 mg tablet, 4 mg tablet | inhaler | 1 10 | 1
Silver sulfadiazine: 1% cream 50 g, 1% cream 500 g | tube | 1 10 | 0.4
Simvastatin: 10 mg tablet, 20 mg tablet, 40 mg tablet | tablet | 28 100 | 9
Sodium chloride: 0.9% infusion 500 ml, 0.9% infusion 1 l, 0.9% injection 10 ml | bottle | 1 20 | 2
Sodium lactate, compound: infusion 500 ml, infusion 1 l | bottle | 1 20 | 2
Sodium valproate: 200 mg tablet, 500 mg tablet | tablet | 100 | 3
Spironolactone: 25 mg tablet, 50 mg tablet | tablet | 28 100 | 3
Sulfadoxine + pyrimethamine: 500 mg + 25 mg tablet, 250 mg + 12.5 mg tablet | tablet | 3 1000 | 3 | rains
Sulfamethoxazole + trimethoprim: 100 mg + 20 mg tablet, 400 mg + 80 mg tablet | tablet | 100 1000 | 20
Tenofovir + lamivudine + dolutegravir: 300 mg + 300 mg + 50 mg tablet | tablet | 30 90 | 15
Tetracycline: 1% eye ointment, 3% ointment | tube | 1 10 | 1
Thiamine: 50 mg tablet, 100 mg/ml injection | tablet | 100 1000 | 3
Tinidazole: 500 mg tablet, 1 g tablet | tablet | 4 100 | 3
Tramadol: 50 mg capsule, 50 mg/ml injection | capsule | 10 100 | 2
Tranexamic acid: 500 mg tablet, 100 mg/ml injection | tablet | 10 60 | 0.5
Verapamil: 40 mg tablet, 80 mg tablet | tablet | 28 100 | 1
Warfarin: 1 mg tablet, 3 mg tablet, 5 mg tablet | tablet | 28 100 | 3
Zidovudine: 100 mg tablet, 300 mg tablet | tablet | 60 100 | 4
Zinc sulfate: 10 mg tablet, 20 mg dispersible tablet | tablet | 100 | 8 | rains
BCG vaccine: 10 doses vial, 20 doses vial | vial | 1 10 | 0.4
Measles and rubella vaccine: 1 dose vial, 10 doses vial | vial | 1 10 | 0.4
Oral polio vaccine: 10 doses vial, 20 doses vial | vial | 1 10 | 0.5
Pentavalent vaccine: 1 dose vial, 10 doses vial | vial | 1 10 | 0.6
Tetanus and diphtheria vaccine: 10 doses vial, 20 doses vial | vial | 1 10 | 0.3
Malaria rapid diagnostic test: single kit, box | test | 1 25 | 8 | rains
HIV rapid test: single kit, confirmation kit | test | 1 30 | 4
Syphilis rapid test: single kit, box | test | 1 30 | 2
Pregnancy test: strip, cassette | test | 1 50 | 2
Condom: male, female | piece | 100 144 | 25
Examination gloves: small, medium, large | piece | 100 | 30
Surgical gloves: size 6.5, size 7, size 7.5, size 8 | pair | 50 | 2
Syringe with needle: 2 ml, 5 ml, 10 ml, 20 ml | piece | 100 | 15
Auto-disable syringe: 0.05 ml, 0.5 ml | piece | 100 | 4
Hypodermic needle: 21 G, 23 G, 25 G | piece | 100 | 6
Intravenous cannula: 18 G, 20 G, 22 G, 24 G | piece | 50 100 | 2
Infusion giving set: adult, child | piece | 1 25 | 1
Suture: absorbable 2-0, non-absorbable 3-0 | piece | 12 | 0.6
Gauze swab: 7.5 cm, 10 cm | piece | 100 | 12
Cotton wool: 100 g, 500 g | roll | 1 20 | 0.5
Elastic bandage: 7.5 cm, 10 cm | roll | 1 12 | 1
Adhesive tape: 2.5 cm, 5 cm | roll | 1 12 | 0.6
Urinary catheter: 14 Ch, 16 Ch, 18 Ch | piece | 10 | 0.3
Nasogastric tube: 8 Ch, 16 Ch | piece | 10 | 0.2
Blood lancet: standard, safety | piece | 200 | 6
Glucose test strip: standard, hospital meter | strip | 50 | 6
Urine test strip: 3 parameters, 10 parameters | strip | 100 | 3
Face mask: surgical, respirator | piece | 20 50 | 12
Safety box: 2.5 l, 5 l | piece | 1 25 | 0.2
Insecticide-treated net: single, double | piece | 1 50 | 1 | rains
"""

# Share of items whose box "Include in DHIS2 data push" is ticked, wherever that is kept.
_INCLUDED = 0.85


@dataclass(frozen=True, slots=True)
class Medicine:
    """An item of mSupply as it is entered, with what the history of its stock goes by.

    Attributes
    ----------
    daily_units
        Units that a clinic of ordinary size uses in a day.
    rises_in_the_rains
        Whether use follows the season.
    """

    id: str
    code: str
    name: str
    unit: str
    pack_sizes: tuple[float, ...]
    daily_units: float
    rises_in_the_rains: bool
    price: float
    universal_code: str | None
    type: str = "STOCK"
    is_active: bool = True
    user_fields: dict[str, object] = field(default_factory=dict)

    @property
    def legacy_record(self) -> str:
        """The JSON of the item as the older mSupply keeps it; the user fields stand nowhere else."""
        record: dict[str, object] = {
            "ID": self.id,
            "code": self.code,
            "item_name": self.name,
            "type_of": {"STOCK": "general", "SERVICE": "service"}.get(self.type, "non_stock"),
            "default_pack_size": self.pack_sizes[0],
            "universalcodes_code": self.universal_code or "",
            "universalcodes_name": self.name if self.universal_code else "",
            "custom_data": None,
            "user_field_1": "",
            "user_field_2": "",
            "user_field_3": "",
            "user_field_4": False,
            "user_field_5": 0,
            "user_field_6": "",
            "user_field_7": False,
        }
        return json.dumps(record | self.user_fields)


def universal_code(name: str) -> str:
    """Make up the universal code of a product: 8 hex characters, the same for the same name always."""
    return hashlib.sha256(f"universal code of {name}".encode()).hexdigest()[:8]


def medicines(count: int, seed: int) -> list[Medicine]:
    """Return the first ``count`` items of an order that the seed decides.

    After the last product come further presentations of the first ones.
    """
    products = []
    for entry in _GENERIC.strip().splitlines():
        generic, _, rest = entry.partition(": ")
        presentations, unit, pack_sizes, daily_units, *season = (part.strip() for part in rest.split("|"))
        products += [
            (f"{generic} {presentation}", unit, pack_sizes, float(daily_units), bool(season))
            for presentation in presentations.split(", ")
        ]
    shuffle = random.Random(f"medicines {seed}")  # noqa: S311 - sample data, which a seed must repeat
    shuffle.shuffle(products)
    return [
        _medicine(number, *products[number % len(products)], len(products), seed) for number in range(count)
    ]


def _medicine(  # noqa: PLR0913, PLR0917 - the columns of the list above, unpacked
    number: int,
    name: str,
    unit: str,
    pack_sizes: str,
    daily_units: float,
    rises_in_the_rains: bool,  # noqa: FBT001 - a column of the list above
    products: int,
    seed: int,
) -> Medicine:
    choose = random.Random(f"medicine {seed} {number}")  # noqa: S311 - sample data, which a seed must repeat
    edition = number // products + 1
    if edition > 1:
        name = f"{name}, presentation {edition}"
    code = universal_code(name)
    local_code = f"{name[:3].upper()}{number + 1:04d}"
    return Medicine(
        id=f"{choose.getrandbits(128):032X}",
        code=local_code,
        name=name,
        unit=unit,
        pack_sizes=tuple(float(size) for size in pack_sizes.split()),
        daily_units=daily_units * choose.lognormvariate(0, 0.4),
        rises_in_the_rains=rises_in_the_rains,
        price=round(choose.lognormvariate(1, 1), 2),
        universal_code=code,
        user_fields={
            "user_field_1": local_code,
            "user_field_2": f"SOH_{local_code}",
            "user_field_3": f"AMC_{local_code}",
            "user_field_4": choose.random() < _INCLUDED,
            "user_field_5": number + 1,
            "user_field_6": f"{choose.choice('ABCDEFGHKM')}{choose.getrandbits(52) % 10**10:010d}",
            "user_field_7": True,
            "custom_data": {"dhis2_push": choose.random() < _INCLUDED, "dhis2_code": {"data": f"DE_{code}"}},
        },
    )
