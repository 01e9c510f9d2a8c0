{#- The engine's packages, and what has to be out of their way. -#}
{%- from tpldir ~ "/map.jinja" import cold, docker, docker_sls, unknown with context %}

include:
{%- if docker.faults or not docker.managed %}
  - {{ docker_sls }}
{%- else %}
{%-   set held = salt["file.file_exists"](docker.mark) %}
  - {{ docker_sls }}.repo
{%-   if docker.rivals and cold and not unknown %}
  - {{ docker_sls }}.modules
{%-   endif %}
{%-   if docker.rivals %}

docker-idle:
{%-     if unknown %}
  test.configurable_test_state:
    - name: docker_engine is not synced to this minion yet; it would be, and would then tell whether containers run
    - changes: False
{%-     else %}
  docker_engine.idle:
    - name: no container runs that the change to {{ docker.provider }} would stop
    - force: {{ docker.force }}
{%-       if cold %}
    - require:
      - saltutil: docker-modules
{%-       endif %}
{%-     endif %}

docker-conflicting:
  pkg.removed:
    - pkgs: {{ docker.rivals | tojson }}
    - require:
      - docker-idle
      - sls: {{ docker_sls }}.repo
    - require_in:
      - docker-packages
{%-   endif %}
{%-   if docker.lock %}

docker-hold:
  pkg.installed:
    - pkgs: {{ docker.lock | tojson }}
    - require_in:
      - docker-packages
{%-   endif %}

{%-   if docker.hold or held %}

{#- What an administrator holds by other means is not ours to release: this file says that we did. #}
docker-held:
{%-     if docker.hold %}
  file.managed:
    - name: {{ docker.mark }}
    - contents: The packages of the engine are held by the docker state.
    - makedirs: True
    - require_in:
      - docker-packages
{%-     else %}
  file.absent:
    - name: {{ docker.mark }}
    - require:
      - docker-packages
{%-     endif %}
{%-   endif %}

docker-packages:
{%-   if docker.own.manager == "chocolatey" %}
  chocolatey.installed:
    - name: {{ docker.own.packages[0] }}
{%-     if docker.version %}
    - version: {{ docker.version | tojson }}
{%-     endif %}
{%-   else %}
  pkg.installed:
    - pkgs: {{ docker.packages | tojson }}
    {#- Not `onchanges` of the repository: this refreshes whenever a package is missing, and only then. #}
    - refresh: True
{%-     if docker.own.options %}
    - options: {{ docker.own.options | tojson }}
{%-     endif %}
{%-     if docker.system == "Debian" %}
    - install_recommends: False
{%-     endif %}
{%-     if docker.hold or held %}
    - hold: {{ docker.hold }}
    - update_holds: True
{%-     endif %}
{%-   endif %}
    - require:
      - sls: {{ docker_sls }}.repo
{%- endif %}
