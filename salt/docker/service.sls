{#- The engine, running. It is restarted when daemon.json has changed, and for no other reason. -#}
{%- from tpldir ~ "/map.jinja" import cold, docker, docker_sls, idle, unknown with context %}
{%- if docker.faults or not docker.managed %}
{{ idle("docker-service") }}

{%- else %}

include:
  - {{ docker_sls }}.config
{%-   set by_us = docker.engine.service and not docker.has_init %}
{%-   if by_us and cold and not unknown %}
  - {{ docker_sls }}.modules
{%-   endif %}

docker-service:
{%-   if docker.provider == "colima" %}
  cmd.run:
    - name: brew services start colima
    - runas: {{ docker.users[0] | tojson }}
    - unless: su -l {{ docker.users[0] | tojson }} -c 'colima status'
{%-   elif not docker.engine.service %}
  test.nop:
    - name: {{ docker.provider }} starts with the session of who uses it
{%-   elif docker.has_init %}
  service.running:
    - name: {{ docker.engine.service }}
    - enable: True
{%-   elif unknown %}
  {#- A state function that is only about to be synced cannot be asked what it would do. #}
  test.configurable_test_state:
    - name: docker_engine is not synced to this minion yet; it would be, and would then start the engine
    - changes: True
{%-   else %}
  docker_engine.running:
    - name: docker
    - command: {{ docker.engine.command }}
    - socket: {{ docker.engine.socket }}
{%-   endif %}
    - require:
      - docker-packages
{%-   if docker.users and docker.engine.group %}
      - docker-users
{%-   endif %}
{%-   if by_us and cold and not unknown %}
      - saltutil: docker-modules
{%-   endif %}
{%-   if docker.engine.group %}
    - watch:
      - docker-config
{%-   endif %}
{%- endif %}
