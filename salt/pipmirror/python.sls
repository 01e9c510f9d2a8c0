{#- The Python packages that pipmirror needs, in Salt's own interpreter. Once the module loads, they are there:
    asking pip each time would cost more than everything else in a highstate. -#}
{%- if "pipmirror.plan" in salt %}
pipmirror-python:
  test.nop:
    - name: every Python package is there
{%- else %}
{%- import_yaml tpldir ~ "/defaults.yaml" as defaults %}
{%- from tpldir.rpartition("pipmirror")[0] ~ "docker/interpreter.jinja" import into_salt with context %}
{%- set own = salt["pillar.get"]("pipmirror_python") or {} %}
{%- set python = salt["slsutil.merge"](defaults.pipmirror.python, own if own is mapping else {}) %}
{#- pip.installed does not understand environment markers. #}
{%- set packages = python.packages + (["tomli==2.2.1"] if grains["pythonversion"][:2] < [3, 11] else []) %}
{{ into_salt("pipmirror-python", packages, python.find_links) }}
{%- endif %}
