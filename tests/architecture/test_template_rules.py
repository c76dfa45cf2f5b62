"""The rule of templates on examples: what it reports, and what it lets be."""

import pytest

from tests.architecture.template_rules import computing_templates


@pytest.mark.parametrize(
    "source",
    [
        "{% do rows.append(1) %}",
        "{% set low, high = row.low, row.high %}",
        "{% set names = rows|join %}",
        "{% set a = b ~ c %}",
        "{{ 1 / row.ratio }}",
        "{{ 100 * row.alpha }}",
        "{% if row.ratio < 1 %}later{% endif %}",
        "{% if 2 >= n %}few{% endif %}",
        "{{ {'a': 1}[key] }}",
        "{{ row['ratio'] }}",
        "{{ row.get('ratio') }}",
        "{{ rows|first }}",
        "{% for row in rows|selectattr('shown') %}{% endfor %}",
        "{{ value|default('none') }}",
        "{{ '%.2f'|format(row.ratio) }}",
        "{% if %}",
    ],
)
def test_a_template_that_computes_is_reported(source: str):
    assert list(computing_templates(source))


@pytest.mark.parametrize(
    "source",
    [
        "{% for row in table.rows %}<td>{{ row.text }}</td>{% else %}none{% endfor %}",
        "{% if row.marked and not loop.last %}*{% endif %}",
        "{% if row.note is none or row.kind == 'total' %}{% endif %}",
        "{{ 's' if row.several }}",
        "{% set plan = report.plan %}",
        "{% macro cell(row) %}{{ row.text|e }}{% endmacro %}{{ cell(row) }}",
        "{{ names|join(', ') }}{{ rows|length }}",
        "{% from 'forms.j2' import cell %}{# 1 + 1 #}",
    ],
)
def test_markup_loops_and_ifs_are_let_be(source: str):
    assert list(computing_templates(source)) == []
