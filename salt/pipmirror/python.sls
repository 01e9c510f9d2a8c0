{#- The Python packages that pipmirror needs, in Salt's own interpreter. Once the module loads, they are there:
    asking pip each time would cost more than everything else in a highstate. -#}
{%- if "pipmirror.plan" in salt %}
pipmirror-python:
  test.nop:
    - name: every Python package is there
{%- else %}
{%- import_yaml tpldir ~ "/defaults.yaml" as defaults %}
{%- set own = salt["pillar.get"]("pipmirror_python") or {} %}
{%- set python = salt["slsutil.merge"](defaults.pipmirror.python, own if own is mapping else {}) %}
pipmirror-python:
  pip.installed:
    {#- pip.installed does not understand environment markers. #}
    - pkgs: {{ (python.packages + (["tomli==2.2.1"] if grains["pythonversion"][:2] < [3, 11] else [])) | tojson }}
    - bin_env: {{ grains["pythonexecutable"] | tojson }}
    {%- if python.find_links %}
    - find_links: {{ python.find_links | tojson }}
    - no_index: True
    {%- endif %}
    - reload_modules: True
{%- endif %}
